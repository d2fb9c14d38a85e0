//! TCP: connect, send a line, read its echo.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netpol_wire::Token;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Failure, Reply, any, bind, failure};
use crate::{echo, kernel};

/// Connects from the token's port.
///
/// The socket lingers for no time, so that closing it leaves no TIME_WAIT that would hold the tuple; with SO_REUSEADDR
/// a port can serve two destinations. With `errors`, ICMP errors end the connection and can be told from resets: right
/// for a probe; a held connection is to behave as an application's does.
pub(crate) async fn connect(n: Token, to: SocketAddr, errors: bool) -> Result<AsyncFd<Socket>, Failure> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    if errors {
        kernel::report_icmp_errors(socket.as_fd(), to.is_ipv6())?;
    }
    bind(&socket, any(to.ip(), n.tuple_id()))?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(failure(&socket, error)),
    }
    let socket = kernel::watch(socket, Interest::READABLE | Interest::WRITABLE | Interest::ERROR)?;
    let _ = socket.ready(Interest::WRITABLE | Interest::ERROR).await?;
    match socket.get_ref().take_error()? {
        Some(error) => Err(failure(socket.get_ref(), error)),
        None => Ok(socket),
    }
}

/// The whole probe.
pub(super) async fn exchange(n: Token, to: SocketAddr) -> Result<Reply, Failure> {
    let socket = connect(n, to, true).await?;
    let line = format!("probe {n}");
    // A line fits into the empty send buffer of a connection that has just been opened.
    (&mut socket.get_ref())
        .write_all(format!("{line}\n").as_bytes())
        .map_err(|error| failure(socket.get_ref(), error))?;
    let mut answer = Vec::new();
    let mut buffer = [0; echo::LONGEST];
    while answer.last() != Some(&b'\n') {
        let mut guard = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match (&mut socket.get_ref()).read(&mut buffer) {
            Ok(0) => {
                return Err(Failure::Nonsense("the other side closed the connection without an answer".to_owned()));
            }
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) => return Err(failure(socket.get_ref(), error)),
        }
        if answer.len() > 2 * echo::LONGEST {
            break;
        }
    }
    let at = Instant::now();
    let answer = String::from_utf8_lossy(&answer);
    match echo::source_seen(&answer, &line) {
        Some(source) => Ok(Reply { at, src_seen: Some(source) }),
        None => Err(Failure::Nonsense(format!("the other side does not echo lines: it said {:?}", answer.trim_end()))),
    }
}
