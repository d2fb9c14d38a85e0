//! What runs in a pod: a server that answers probes, a client that logs its requests, the prober, the packet capture,
//! the relay that `pods/exec` starts, and `ping`.

use std::process::ExitCode;

mod cli;
pub mod ping;

pub use cli::{AgentArgs, AgentCommand, ClientArgs, ServerArgs};

/// Runs `netpol agent …` on a runtime of its own.
pub fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{args:?}: this build cannot run it yet")
}
