//! The loopback interface of a scratch namespace.

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Brings the loopback interface up: a new namespace's is down.
pub(crate) fn bring_up() {
    let mut request = [0u8; 32];
    request[0..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&16u16.to_ne_bytes()); // RTM_NEWLINK
    request[6..8].copy_from_slice(&0x1u16.to_ne_bytes()); // NLM_F_REQUEST
    request[20..24].copy_from_slice(&1u32.to_ne_bytes()); // the index of lo
    request[24..28].copy_from_slice(&1u32.to_ne_bytes()); // IFF_UP
    request[28..32].copy_from_slice(&1u32.to_ne_bytes()); // of all flags only this one
    let socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.send_to(&request, &SocketAddr::new(0, 0), 0).unwrap();
}
