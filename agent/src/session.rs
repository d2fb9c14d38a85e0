//! The agent's abstract socket, and the connections of the relays to it.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::attach::{agent_address, agent_name};
use crate::calls::Agent;
use crate::ledger::Line;

/// Bytes of the longest line that is read: a call of 20,000 probes has about two million.
const LONGEST: u64 = 8 * 1024 * 1024;
/// How long a line waits for others to travel with, such as those of another call: each journey to the harness wakes four processes.
const TOGETHER: Duration = Duration::from_millis(1);

/// Listens for relays. The name belongs to this network namespace and is gone with the process.
pub(crate) fn listen() -> anyhow::Result<UnixListener> {
    let name = agent_name();
    let listener = agent_address(&name).and_then(|address| StdListener::bind_addr(&address)).with_context(|| {
        format!(
            "cannot listen on the abstract socket '{name}': if another agent runs in this network namespace (hostNetwork), \
             give each its own {}",
            netpol_wire::AGENT_NAME_VARIABLE
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

/// Accepts relays for ever.
pub(crate) async fn accept(listener: UnixListener, agent: Arc<Agent>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, agent.clone()));
            }
            // No file descriptors left for the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: UnixStream, agent: Arc<Agent>) {
    let (read, write) = stream.into_split();
    let (backlog, mut lines) = agent.attach();
    let (ended, end) = mpsc::channel::<()>(1);
    let reading = async {
        let mut read = BufReader::new(read);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut read).take(LONGEST).read_until(b'\n', &mut line).await {
                Ok(_) if line.last() == Some(&b'\n') => agent.hear(&line),
                _ => break,
            }
        }
        drop(ended);
    };
    // Both end when the relay has closed, so that the answers that are ready still reach it; or when it is cut off.
    let (_, _) = tokio::join!(reading, tell(write, backlog, &mut lines, end));
}

/// Writes lines until the relay has gone, or was too slow, or has ended its input and has been told what was ready.
async fn tell(
    mut write: OwnedWriteHalf,
    backlog: Vec<Line>,
    lines: &mut mpsc::Receiver<Line>,
    mut end: mpsc::Receiver<()>,
) -> io::Result<()> {
    let mut bytes: Vec<u8> = backlog.iter().flat_map(|line| line.bytes()).collect();
    loop {
        write.write_all(&bytes).await?;
        bytes.clear();
        let first = tokio::select! {
            biased;
            line = lines.recv() => line,
            _ = end.recv() => None,
        };
        let Some(first) = first else { return Ok(()) };
        bytes.extend_from_slice(first.as_bytes());
        tokio::time::sleep(TOGETHER).await;
        while let Ok(more) = lines.try_recv() {
            bytes.extend_from_slice(more.as_bytes());
        }
    }
}
