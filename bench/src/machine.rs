//! The machine that figures belong to.

use serde::Serialize;

/// What has to be known to compare figures with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Processors that this process may use.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Whether netpol was compiled with optimisation.
    pub optimised: bool,
}

impl Machine {
    pub(crate) fn this() -> Self {
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            optimised: !cfg!(debug_assertions),
        }
    }
}
