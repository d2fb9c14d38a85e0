//! The listeners of a pod: TCP (HTTP or lines, told apart by the first bytes) and UDP.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::cli::ServerArgs;
use crate::{echo, http};

/// Connections that may wait to be accepted: a whole matrix may arrive at once.
const BACKLOG: i32 = 4096;

/// A listener that could not be had.
#[derive(Debug, Error)]
#[error("cannot listen on {protocol} {address}: {source}; choose another --port, or end what listens there")]
pub(crate) struct ListenError {
    protocol: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Binds every port for IPv4, and for IPv6 where the kernel has it, and serves them on tasks of the current runtime.
pub(crate) fn listen(args: &ServerArgs) -> Result<(), ListenError> {
    let ServerArgs { ports, udp_ports, .. } = args;
    let tcp: BTreeSet<u16> = ports.iter().copied().collect();
    let udp: BTreeSet<u16> = ports.iter().chain(udp_ports).copied().collect();
    for port in tcp {
        for address in both_families(port) {
            let Some(socket) = bind(address, Type::STREAM, "TCP")? else { continue };
            let listener = socket
                .listen(BACKLOG)
                .and_then(|()| TcpListener::from_std(socket.into()))
                .map_err(|source| ListenError { protocol: "TCP", address, source })?;
            tokio::spawn(accept(listener));
        }
    }
    for port in udp {
        for address in both_families(port) {
            let Some(socket) = bind(address, Type::DGRAM, "UDP")? else { continue };
            let socket = UdpSocket::from_std(socket.into()).map_err(|source| ListenError {
                protocol: "UDP",
                address,
                source,
            })?;
            tokio::spawn(echo::serve_udp(socket));
        }
    }
    Ok(())
}

fn both_families(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

/// A bound socket; none where the kernel has no IPv6.
fn bind(address: SocketAddr, kind: Type, protocol: &'static str) -> Result<Option<Socket>, ListenError> {
    let number = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let bound = Socket::new(Domain::for_address(address), kind, Some(number)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    });
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if address.is_ipv6() && has_no_ipv6(&error) => Ok(None),
        Err(source) => Err(ListenError { protocol, address, source }),
    }
}

/// Without the module the family is missing, with `disable_ipv6` the address is.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer));
            }
            // A connection that was reset before it was accepted, or no file descriptors left for the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves one connection in the protocol that its first bytes speak. How it ends is the peer's affair: probes end with a
/// reset on purpose.
async fn serve(stream: TcpStream, peer: SocketAddr) {
    // Answers are single short writes, which must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut first = [0; 8];
    let mut seen = 0;
    loop {
        match stream.peek(&mut first).await {
            Err(_) | Ok(0) => return,
            Ok(len) => match http::is_request(&first[..len]) {
                Some(true) => {
                    let _ = http::serve(stream, peer).await;
                    return;
                }
                Some(false) => {
                    let _ = echo::serve_tcp(stream, peer).await;
                    return;
                }
                // The beginning of a method's name, cut by the network: peeking does not wait for more by itself.
                None if len == seen => tokio::time::sleep(Duration::from_millis(1)).await,
                None => seen = len,
            },
        }
    }
}
