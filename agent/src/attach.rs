//! The relay that `pods/exec` starts: stdin and stdout, joined to the agent of the pod.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use netpol_wire::AGENT_NAME_VARIABLE;
use rustix::event::{PollFd, PollFlags, poll};

/// How long an agent may take to appear: `pods/exec` may come while the pod's main process is still starting.
const PATIENCE: Duration = Duration::from_secs(1);
/// No agent in this pod: the environment failed (design, "Exit codes").
const NO_AGENT: u8 = 3;

/// The name of this pod's agent, as the environment has it.
pub(crate) fn agent_name() -> String {
    match std::env::var(AGENT_NAME_VARIABLE) {
        Ok(name) if !name.is_empty() => format!("netpol-agent-{name}"),
        _ => "netpol-agent".to_owned(),
    }
}

/// The abstract address under which an agent of this name listens; it belongs to the network namespace.
pub(crate) fn agent_address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name.as_bytes())
}

/// Relays until either side ends. Exit codes: 0 after stdin's end, 1 when the agent ended first, 3 without an agent.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let name = agent_name();
    let address = agent_address(&name)
        .with_context(|| format!("'{name}' cannot name a socket; set {AGENT_NAME_VARIABLE} to something shorter"))?;
    let started = Instant::now();
    let agent = loop {
        match UnixStream::connect_addr(&address) {
            Ok(agent) => break agent,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                eprintln!(
                    "netpol agent attach: no agent listens on the abstract socket '{name}' of this network namespace ({error}); \
                     the pod's main process must be `netpol agent server` or `netpol agent client`, with the same {AGENT_NAME_VARIABLE}"
                );
                return Ok(ExitCode::from(NO_AGENT));
            }
        }
    };
    relay(&agent)
}

fn relay(mut agent: &UnixStream) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    let mut stdin_open = true;
    let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    loop {
        let (from_agent, from_stdin) = {
            let input = rustix::stdio::stdin();
            let mut watched = vec![PollFd::new(agent, PollFlags::IN)];
            if stdin_open {
                watched.push(PollFd::new(&input, PollFlags::IN));
            }
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.context("cannot wait for stdin and the agent")?,
            };
            let is_ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.revents().intersects(ready));
            (is_ready(watched.first()), is_ready(watched.get(1)))
        };
        if from_agent {
            let len = agent.read(&mut buffer).unwrap_or_default();
            if len == 0 {
                // After our own end of input this is the agent's farewell.
                return Ok(if stdin_open { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            let written =
                buffer.get(..len).map_or(Ok(()), |bytes| stdout.write_all(bytes).and_then(|()| stdout.flush()));
            if written.is_err() {
                // Nobody reads any more.
                return Ok(ExitCode::SUCCESS);
            }
        }
        if from_stdin {
            // Through the descriptor, not through std's buffer, in which poll cannot look.
            let len = rustix::io::read(rustix::stdio::stdin(), &mut buffer).unwrap_or_default();
            match buffer.get(..len) {
                Some(bytes) if len > 0 => {
                    if agent.write_all(bytes).is_err() {
                        return Ok(ExitCode::FAILURE);
                    }
                }
                _ => {
                    stdin_open = false;
                    // The agent answers with what it has ready, and closes.
                    let _ = agent.shutdown(Shutdown::Write);
                }
            }
        }
    }
}
