//! What runs in a pod: a server that answers probes, a client that logs its requests, the prober, the packet capture,
//! the relay that `pods/exec` starts, and `ping`.
//!
//! One process per pod on one thread (and one more that empties the packet capture). Everything that has to outlive an
//! exec stream (unacknowledged answers, captured arrivals, held connections) lives in [`calls`]; the relays come and go.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod attach;
mod calls;
mod capture;
mod cli;
mod client;
mod echo;
mod held;
mod http;
mod kernel;
mod lag;
mod ledger;
mod opening;
mod packet_filter;
pub mod ping;
mod prober;
mod sctp;
mod sctp_listener;
mod server;
mod session;
mod signals;
mod watch;

pub use cli::{AgentArgs, AgentCommand, ClientArgs, ServerArgs};

/// Runs `netpol agent …` on a runtime of its own, until SIGINT or SIGTERM ends it with exit code 0.
///
/// # Errors
/// A port or the agent's socket that cannot be listened on; a client's log that cannot be written.
pub fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let (server, client) = match args.command {
        AgentCommand::Attach => return attach::run(),
        AgentCommand::Server(server) => (server, None),
        AgentCommand::Client(ClientArgs { target, interval, timeout, duration, server }) => {
            (server, Some((client::Requests { target, interval, timeout }, duration)))
        }
    };
    raise_descriptor_limit();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let code = runtime.block_on(async {
        let mut signals = signals::Signals::new().context("cannot handle signals")?;
        server::listen(&server)?;
        sctp_listener::listen(&server.sctp_ports);
        let agent = calls::Agent::new()?;
        // Last, so that whoever reads a hello finds the listeners there.
        let relays = session::listen()?;
        tokio::spawn(session::accept(relays, Arc::clone(&agent)));
        let requests = async {
            match client {
                Some((requests, None)) => requests.send_forever().await,
                Some((requests, Some(duration))) => {
                    tokio::time::timeout(duration, requests.send_forever()).await.unwrap_or(Ok(()))
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.next(), if !server.linger => Ok(ExitCode::SUCCESS),
            () = agent.asked_to_end() => Ok(ExitCode::SUCCESS),
            ended = requests => ended.map(|()| ExitCode::SUCCESS),
        }
    });
    // A name that is being looked up has a thread of its own, which must not hold up the end.
    runtime.shutdown_background();
    code
}

/// A burst of probes needs a descriptor each. Where the limit stays low, the probes that find none say so.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
