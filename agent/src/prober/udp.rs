//! UDP: send a datagram, await its echo.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use netpol_wire::Token;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::{Failure, Reply, any, bind, failure, queued_icmp_error};
use crate::{echo, kernel};

/// The whole probe. The socket is connected, so that only the destination's datagrams and errors reach it.
pub(super) async fn exchange(n: Token, to: SocketAddr) -> Result<Reply, Failure> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    kernel::report_icmp_errors(socket.as_fd(), to.is_ipv6())?;
    bind(&socket, any(to.ip(), n.tuple_id()))?;
    socket.connect(&to.into())?;
    let socket = kernel::watch(socket, Interest::READABLE | Interest::ERROR)?;
    let line = format!("probe {n}");
    socket.get_ref().send(line.as_bytes()).map_err(|error| failure(socket.get_ref(), error))?;
    let mut datagram = [0; 2 * echo::LONGEST];
    loop {
        let mut guard = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match (&mut socket.get_ref()).read(&mut datagram) {
            Ok(len) => {
                let at = Instant::now();
                let answer = String::from_utf8_lossy(&datagram[..len]);
                return match echo::source_seen(&answer, &line) {
                    Some(source) => Ok(Reply { at, src_seen: Some(source) }),
                    None => Err(Failure::Nonsense(format!(
                        "the other side does not echo datagrams: it said {:?}",
                        answer.trim_end()
                    ))),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Some ICMP errors are only queued, and fail no call.
                if let Some(icmp) = queued_icmp_error(socket.get_ref()) {
                    return Err(icmp);
                }
                guard.clear_ready();
            }
            Err(error) => return Err(failure(socket.get_ref(), error)),
        }
    }
}
