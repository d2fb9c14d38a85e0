//! `netpol bench enforcer`.

mod cluster;
mod scale;

use clap::Args;

use crate::report::Report;
use crate::sandbox;

/// The enforcer: what a change costs in a large cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Pods of the large cluster.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How many changes are measured, of each kind.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

/// Measures in a network namespace of its own.
///
/// # Errors
/// The kernel refuses the namespace or the rules.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    sandbox::enter()?;
    let mut report = Report::of("enforcer");
    scale::measure(arguments.pods, arguments.changes, &mut report)?;
    Ok(report)
}
