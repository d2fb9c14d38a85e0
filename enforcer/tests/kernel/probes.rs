//! Real packets from one place to another. What is answered within [`PATIENCE`] passed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::node::Place;

/// How long an answer may take; the way is a few veths of one machine.
const PATIENCE: Duration = Duration::from_millis(250);

/// Whether a new TCP connection comes about.
pub(crate) fn tcp(from: &Place, to: &Place, port: u16) -> bool {
    let _listener = listen(to, port);
    connect(from, to, port).is_some()
}

/// Listens on all addresses of the place.
pub(crate) fn listen(at: &Place, port: u16) -> TcpListener {
    let address = any(at.address);
    at.namespace.run(|| TcpListener::bind((address, port)).expect("a listener"))
}

/// A new TCP connection, if it comes about.
pub(crate) fn connect(from: &Place, to: &Place, port: u16) -> Option<TcpStream> {
    let to = SocketAddr::from((to.address, port));
    match from.namespace.run(|| TcpStream::connect_timeout(&to, PATIENCE)) {
        Ok(stream) => Some(stream),
        Err(error) if error.kind() == ErrorKind::TimedOut => None,
        Err(error) => panic!("connecting to {to}: {error}"),
    }
}

/// Whether a byte comes through an established connection in each direction.
pub(crate) fn alive(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    for end in [&*client, &*server] {
        end.set_read_timeout(Some(PATIENCE * 4)).expect("a timeout");
    }
    let mut byte = [0];
    client.write_all(b"?").is_ok()
        && server.read_exact(&mut byte).is_ok()
        && server.write_all(b"!").is_ok()
        && client.read_exact(&mut byte).is_ok()
}

/// A UDP socket of the place, on a port (0: any), that waits no longer than [`PATIENCE`].
pub(crate) fn datagrams(at: &Place, port: u16) -> UdpSocket {
    let address = any(at.address);
    let socket = at.namespace.run(|| UdpSocket::bind((address, port)).expect("a UDP socket"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Whether a datagram arrives and the answer to it comes back.
pub(crate) fn udp(from: &Place, to: &Place, port: u16) -> bool {
    let (client, server) = (datagrams(from, 0), datagrams(to, port));
    client.send_to(b"?", (to.address, port)).expect("sent");
    let mut byte = [0];
    let Ok((_, back)) = server.recv_from(&mut byte) else { return false };
    server.send_to(b"!", back).expect("answered");
    assert!(client.recv_from(&mut byte).is_ok(), "a datagram arrived, but its answer did not come back");
    true
}

/// All addresses of a family.
fn any(family: IpAddr) -> IpAddr {
    if family.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Whether an echo request is answered.
pub(crate) fn ping(from: &Place, to: &Place) -> bool {
    static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // The kernel fills in the checksum of ICMPv6, and keeps the header of IPv6 to itself.
    let (domain, protocol, request, reply, header) = match to.address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129, 0),
    };
    let socket = from.namespace.run(|| Socket::new(domain, Type::RAW, Some(protocol)).expect("ICMP"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut packet = [request, 0, 0, 0, identifier[0], identifier[1], 0, 1];
    if to.address.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    socket.send_to(&packet, &SocketAddr::new(to.address, 0).into()).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 128];
    while Instant::now() < deadline {
        let Ok(length) = (&socket).read(&mut buffer) else { break };
        let answer = buffer[..length].get(header..).unwrap_or_default();
        if answer.first() == Some(&reply) && answer.get(4..6) == Some(&identifier) {
            return true;
        }
    }
    false
}

/// Whether a UDP datagram arrives that claims to come from another address.
pub(crate) fn forged(from: &Place, claimed: IpAddr, to: &Place, port: u16) -> bool {
    let server = datagrams(to, port);
    let mut datagram = vec![0x30, 0x39];
    datagram.extend(port.to_be_bytes());
    datagram.extend([0, 9, 0, 0, b'?']);
    let (domain, mut packet) = match (claimed, to.address) {
        (IpAddr::V4(claimed), IpAddr::V4(to)) => {
            let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
            packet.extend(claimed.octets());
            packet.extend(to.octets());
            (Domain::IPV4, packet)
        }
        (IpAddr::V6(claimed), IpAddr::V6(to)) => {
            let mut packet = vec![0x60, 0, 0, 0, 0, 9, 17, 64];
            packet.extend(claimed.octets());
            packet.extend(to.octets());
            // Not optional in IPv6: addresses, length, protocol and the datagram.
            let sum = checksum(&[&packet[8..], &[0, 0, 0, 9, 0, 0, 0, 17], &datagram[..], &[0]].concat());
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
            (Domain::IPV6, packet)
        }
        _ => panic!("{claimed} and {} are of two families", to.address),
    };
    packet.extend(datagram);
    // The protocol "raw" takes packets with headers of either family.
    let socket = from.namespace.run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(255))).expect("raw"));
    socket.send_to(&packet, &SocketAddr::new(to.address, 0).into()).expect("sent");
    server.recv_from(&mut [0]).is_ok()
}

pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
