//! Packets over the loopback interface of a scratch namespace.

mod bring_up;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub(crate) use bring_up::bring_up;
use netpol_nft::Errno;

/// Longer than any packet over loopback takes.
const PATIENCE: Duration = Duration::from_millis(100);

/// A receiver on loopback, with an address of its own.
pub(crate) struct Receiver(UdpSocket);

impl Receiver {
    /// Listens on this address.
    pub(crate) fn on(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Whether a datagram that is sent to `to` comes here.
    pub(crate) fn gets(&self, to: &str) -> bool {
        send(to);
        self.0.recv(&mut [0; 16]).is_ok()
    }

    /// Whether a datagram is here already: loopback delivers within the send.
    pub(crate) fn has_one(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let has_one = self.0.recv(&mut [0; 16]).is_ok();
        self.0.set_nonblocking(false).unwrap();
        has_one
    }

    /// Waits for a datagram of `peer`, answers it, and tells whether the answer comes there.
    pub(crate) fn answers(&self, peer: &UdpSocket) -> bool {
        self.0.recv(&mut [0; 16]).unwrap();
        let _ = self.0.send_to(b"answer", peer.local_addr().unwrap());
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.recv(&mut [0; 16]).is_ok()
    }
}

fn sender(to: SocketAddr) -> UdpSocket {
    UdpSocket::bind(if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap()
}

/// Sends a datagram from a port of its own.
pub(crate) fn send(to: &str) {
    let to = to.parse().unwrap();
    // A drop in the output path is an error of the send; it means what a timeout means.
    let _ = sender(to).send_to(b"probe", to);
}

/// What the sender of a datagram is told by ICMP; nothing if it hears nothing.
pub(crate) fn answer_to(to: &str) -> Option<Errno> {
    let to: SocketAddr = to.parse().unwrap();
    let sender = sender(to);
    sender.connect(to).unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    // A drop in the output path is told as well, but not by ICMP.
    let _ = sender.send(b"probe");
    sender
        .recv(&mut [0; 16])
        .err()
        .and_then(|error| Errno::from_io_error(&error))
        .filter(|errno| *errno != Errno::AGAIN)
}
