//! SCTP by raw packets: send an INIT, await its INIT-ACK. An ABORT is remembered, and counts only if nothing else comes: a kernel with
//! SCTP of its own sends one beside our agent's answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netpol_wire::Token;
use socket2::Domain;
use tokio::io::Interest;

use super::{Failure, Reply, failure, queued_icmp_error};
use crate::kernel;
use crate::sctp::{Chunk, Packet, init, tag_of};
use crate::sctp_listener::{payload, raw};

/// How long an INIT-ACK may come after an ABORT: both are sent at once by the same host.
const BESIDE: Duration = Duration::from_millis(50);

/// The whole probe. The socket is connected, so that the destination's packets alone reach it.
pub(super) async fn exchange(n: Token, to: SocketAddr) -> Result<Reply, Failure> {
    let socket = raw(Domain::for_address(to)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::Nonsense(format!(
            "no raw socket for SCTP: {error}; the agent's container needs the capability NET_RAW"
        )),
        _ => Failure::Io(error),
    })?;
    kernel::report_icmp_errors(socket.get_ref().as_fd(), to.is_ipv6())?;
    socket.get_ref().connect(&SocketAddr::new(to.ip(), 0).into())?;
    socket.get_ref().send(&init(n, to.port())).map_err(|error| failure(socket.get_ref(), error))?;
    let mut refused_at: Option<Instant> = None;
    loop {
        let next = receive(&socket, n, to);
        let chunk = match refused_at {
            None => next.await?,
            Some(at) => match tokio::time::timeout(BESIDE.saturating_sub(at.elapsed()), next).await {
                Ok(chunk) => chunk?,
                Err(_) => return Err(Failure::Io(io::Error::from_raw_os_error(libc::ECONNREFUSED))),
            },
        };
        match chunk {
            Chunk::InitAck => return Ok(Reply { at: Instant::now(), src_seen: None }),
            Chunk::Abort => drop(refused_at.get_or_insert_with(Instant::now)),
            Chunk::Init(_) | Chunk::Other => {}
        }
    }
}

/// The next packet that answers this probe.
async fn receive(
    socket: &tokio::io::unix::AsyncFd<socket2::Socket>,
    n: Token,
    to: SocketAddr,
) -> Result<Chunk, Failure> {
    let mut buffer = [0; 2048];
    loop {
        let mut guard = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match kernel::receive(socket.get_ref().as_fd(), &mut buffer) {
            Ok(received) => {
                let bytes = buffer.get(..received.len).and_then(|packet| payload(packet, to.is_ipv6()));
                let Some(packet) = bytes.and_then(Packet::parse) else { continue };
                let ours = packet.to == n.tuple_id() && packet.from == to.port() && packet.tag == tag_of(n);
                if ours {
                    return Ok(packet.chunk);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(icmp) = queued_icmp_error(socket.get_ref()) {
                    return Err(icmp);
                }
                guard.clear_ready();
            }
            Err(error) => return Err(failure(socket.get_ref(), error)),
        }
    }
}
