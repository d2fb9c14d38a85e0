//! TCP segments that no TCP would send.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::node::Place;
use crate::probes::checksum;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
/// How long a segment may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// Whether a segment with these flags arrives, from a port of its own.
pub(crate) fn segment_arrives(from: &Place, to: &Place, flags: u8) -> bool {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let port = PORT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // The header of IPv6 is kept by the kernel.
    let (domain, header) = if to.address.is_ipv4() { (Domain::IPV4, 20) } else { (Domain::IPV6, 0) };
    let raw = |at: &Place| at.namespace.run(|| Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("raw"));
    let (sender, receiver) = (raw(from), raw(to));
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut segment = vec![port[0], port[1], 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 16, 0, 0, 0, 0, 0];
    // The kernel has to choose the source that the checksum covers.
    sender.connect(&SocketAddr::new(to.address, 0).into()).expect("a way");
    let own = sender.local_addr().expect("a source").as_socket().expect("an address").ip();
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let sum = checksum(&[&bytes(own)[..], &bytes(to.address), &[0, 6, 0, 20], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    sender.send(&segment).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 128];
    while Instant::now() < deadline {
        let Ok(length) = (&receiver).read(&mut buffer) else { break };
        if buffer[..length].get(header..header + 2) == Some(&port) {
            return true;
        }
    }
    false
}
