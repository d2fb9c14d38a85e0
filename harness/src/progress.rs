//! Progress on stderr: a spinner on a terminal, and nothing where nobody watches. Results are printed on stdout past it.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is going on.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Draws nothing if stderr is no terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar }
    }

    /// What is going on now.
    pub(crate) fn say(&self, what: String) {
        tracing::info!("{what}");
        self.bar.set_message(what);
    }

    /// Prints results past the line.
    pub(crate) fn print(&self, text: &str) {
        // What cannot be written here cannot be written at the end either, and is an error there.
        self.bar.suspend(|| _ = anstream::stdout().write_all(text.as_bytes()));
    }

    /// Takes the line away.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
