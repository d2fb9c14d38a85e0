//! A listener for SCTP that works without the kernel's: it answers every INIT to its ports with an INIT-ACK, by raw packets.
//!
//! Where the kernel has SCTP of its own it sends an ABORT beside the answer, because it knows of no listener. Probers wait for the
//! answer.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel;
use crate::sctp::{Chunk, Packet, init_ack};

/// SCTP's number.
const PROTOCOL: i32 = libc::IPPROTO_SCTP;

/// Answers on these ports, in both families where the kernel has them. A pod without NET_RAW cannot, which is told on stderr: probes
/// will say that nobody answers.
pub(crate) fn listen(ports: &[u16]) {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    if ports.is_empty() {
        return;
    }
    for domain in [Domain::IPV4, Domain::IPV6] {
        match raw(domain) {
            Ok(socket) => drop(tokio::spawn(answer(socket, ports.clone(), domain == Domain::IPV6))),
            Err(error) if domain == Domain::IPV6 => eprintln!("no SCTP over IPv6: {error}"),
            Err(error) => eprintln!("no SCTP: {error}; the container needs the capability NET_RAW"),
        }
    }
}

/// A raw socket for SCTP.
pub(crate) fn raw(domain: Domain) -> io::Result<AsyncFd<Socket>> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(PROTOCOL)))?;
    socket.set_nonblocking(true)?;
    kernel::watch(socket, Interest::READABLE | Interest::ERROR)
}

/// What stands behind the IP header: a raw socket of IPv4 hands that out, one of IPv6 does not.
pub(crate) fn payload(packet: &[u8], v6: bool) -> Option<&[u8]> {
    let skip = if v6 { 0 } else { usize::from(packet.first()? & 0x0f) * 4 };
    packet.get(skip..)
}

async fn answer(socket: AsyncFd<Socket>, ports: BTreeSet<u16>, v6: bool) {
    let mut buffer = [0; 2048];
    loop {
        let Ok(mut guard) = socket.ready(Interest::READABLE | Interest::ERROR).await else { return };
        match recvfrom(socket.get_ref(), buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((_, len, from)) => {
                let packet = buffer.get(..len).and_then(|packet| payload(packet, v6)).and_then(Packet::parse);
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                if let (Some(packet), Some(from)) = (packet, from) {
                    reply(socket.get_ref(), &packet, from.ip(), &ports);
                }
            }
            Err(rustix::io::Errno::WOULDBLOCK) => guard.clear_ready(),
            Err(_) => {}
        }
    }
}

fn reply(socket: &Socket, packet: &Packet, from: IpAddr, ports: &BTreeSet<u16>) {
    if let (Chunk::Init(tag), true) = (packet.chunk, ports.contains(&packet.to)) {
        // One that cannot be sent is one that is lost: the prober's affair.
        let _ = socket.send_to(&init_ack(packet, tag), &SockAddr::from(SocketAddr::new(from, 0)));
    }
}
