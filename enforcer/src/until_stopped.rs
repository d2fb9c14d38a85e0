//! Runs one of the node's programs until somebody stops it.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` on a runtime of its own until it ends, or until SIGTERM or SIGINT. `stays` says in the log what is left in
/// force.
pub(crate) fn until_stopped(
    stays: &str,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signal = tokio::select! {
            ended = work => return ended,
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal, "stopping; {stays}");
        Ok(ExitCode::SUCCESS)
    })
}
