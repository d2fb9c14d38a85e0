//! Real packets from one place to another. What is answered within [`PATIENCE`] passed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
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
    at.namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a listener"))
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
    let socket = at.namespace.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a UDP socket"));
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

/// Whether an echo request is answered.
pub(crate) fn ping(from: &Place, to: &Place) -> bool {
    static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = from.namespace.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("ICMP"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut request = [8, 0, 0, 0, identifier[0], identifier[1], 0, 1];
    let sum = checksum(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    socket.send_to(&request, &SocketAddrV4::new(to.address, 0).into()).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 128];
    while Instant::now() < deadline {
        let Ok(length) = (&socket).read(&mut buffer) else { break };
        // Type 0 is the reply; it comes with an IPv4 header of 20 bytes.
        let answer = &buffer[..length];
        if answer.get(20) == Some(&0) && answer.get(24..26) == Some(&identifier) {
            return true;
        }
    }
    false
}

/// Whether a UDP datagram arrives that claims to come from another address.
pub(crate) fn forged(from: &Place, claimed: Ipv4Addr, to: &Place, port: u16) -> bool {
    let server = datagrams(to, port);
    let socket = from.namespace.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("raw"));
    socket.set_header_included_v4(true).expect("own headers");
    let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(claimed.octets());
    packet.extend(to.address.octets());
    packet.extend([0x30, 0x39]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 9, 0, 0, b'?']);
    socket.send_to(&packet, &SocketAddrV4::new(to.address, 0).into()).expect("sent");
    server.recv_from(&mut [0]).is_ok()
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
