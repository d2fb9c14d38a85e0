//! UDP: send a datagram, await its echo. One that is too large for a packet goes in fragments, and so does its echo.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use netpol_wire::Token;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::{Failure, Reply, any, bind, failure, queued_icmp_error};
use crate::{echo, kernel};

/// Characters of an answer that is none, as far as they are shown.
const SHOWN: usize = 100;

/// What is sent: the token, padded to the size that was asked for. Who takes a later fragment's text for ports finds 32382, which is no
/// probe's.
fn line(n: Token, bytes: Option<u16>) -> String {
    format!("{:~<1$}", format!("probe {n}"), bytes.map_or(0, usize::from))
}

/// The whole probe. The socket is connected, so that only the destination's datagrams and errors reach it.
pub(super) async fn exchange(n: Token, to: SocketAddr, bytes: Option<u16>) -> Result<Reply, Failure> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    kernel::report_icmp_errors(socket.as_fd(), to.is_ipv6())?;
    bind(&socket, any(to.ip(), n.tuple_id()))?;
    socket.connect(&to.into())?;
    let socket = kernel::watch(socket, Interest::READABLE | Interest::ERROR)?;
    let line = line(n, bytes);
    socket.get_ref().send(line.as_bytes()).map_err(|error| failure(socket.get_ref(), error))?;
    let mut datagram = vec![0; line.len() + echo::LONGEST];
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
                        answer.trim_end().chars().take(SHOWN).collect::<String>()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_padded_to_its_size_and_never_cut() {
        assert_eq!(line(Token(361), None), "probe a1");
        assert_eq!(line(Token(361), Some(12)), "probe a1~~~~");
        assert_eq!(line(Token(361), Some(3)), "probe a1");
        assert_eq!(line(Token(361), Some(10_000)).len(), 10_000);
    }
}
