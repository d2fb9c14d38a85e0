//! `netpol bench enforcer`.

mod cluster;
mod control_plane;
mod data_path;
mod node;
mod probes;
mod reaction;
mod scale;

use clap::Args;

use crate::report::Report;
use crate::sandbox;

/// The enforcer: how soon packets follow a change, what a change costs in a large cluster, and what policies cost packets.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Pods of the large cluster.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// How many changes are measured, of each kind.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

/// Measures in network namespaces of its own.
///
/// # Errors
/// The kernel refuses a namespace or the rules.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::of("enforcer");
    sandbox::enter()?;
    eprintln!("what a change costs at {} pods", arguments.pods);
    // First, while this process holds nothing else in memory.
    scale::measure(arguments.pods, arguments.changes, &mut report)?;
    // Each on a node of its own.
    sandbox::Namespace::new()?.run(|| {
        eprintln!("from a change to packets");
        reaction::measure(arguments.changes, &mut report)
    })?;
    sandbox::Namespace::new()?.run(|| {
        eprintln!("what policies cost packets");
        data_path::measure(cluster::Size::of(arguments.pods), &mut report)
    })?;
    Ok(report)
}
