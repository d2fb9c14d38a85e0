//! The system calls for which no safe wrapper exists: the socket options of error queues and of packet statistics, and
//! `recvmsg` with the control messages that carry them; and the registration of a descriptor with tokio.
#![expect(unsafe_code, reason = "no safe wrapper offers these options and control messages")]

use std::fmt;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An ICMP error that the kernel has matched to one of our sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// ICMP type.
    pub(crate) kind: u8,
    /// ICMP code.
    pub(crate) code: u8,
    /// Whether the type and code are those of ICMPv6.
    pub(crate) v6: bool,
    /// Who sent the error, if the kernel says.
    pub(crate) from: Option<IpAddr>,
}

impl IcmpError {
    /// Whether it says that nobody listens on the port.
    pub(crate) fn is_port_unreachable(&self) -> bool {
        matches!((self.v6, self.kind, self.code), (false, 3, 3) | (true, 1, 4))
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match (self.v6, self.kind, self.code) {
            (false, 3, 0) => "network unreachable",
            (false, 3, 1) => "host unreachable",
            (false, 3, 2) => "protocol unreachable",
            _ if self.is_port_unreachable() => "port unreachable",
            (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
            (true, 1, 0) => "no route",
            (true, 1, 3) => "address unreachable",
            (false, 11, _) | (true, 3, _) => "time exceeded",
            _ => "error",
        };
        write!(f, "ICMP {words} (type {}, code {})", self.kind, self.code)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        Ok(())
    }
}

/// What one `recvmsg` brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Bytes written into the buffer.
    pub(crate) len: usize,
    /// The packet's time to live (hop limit), if asked for by [`report_ttl`].
    pub(crate) ttl: Option<u8>,
    /// The ICMP error, if the error queue was read and this was one.
    pub(crate) icmp: Option<IcmpError>,
}

/// Packets that a capture has taken and lost since it was last asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaptureCount {
    /// Packets for which the receive buffer had no room.
    pub(crate) lost: u32,
}

/// Registers a socket with the current runtime.
pub(crate) fn watch(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor: `as_raw_fd` returns the same one all its life, and only dropping it closes it.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(|error| error.into_parts().1)
}

/// Has the kernel queue ICMP errors for this socket, where [`receive_error`] finds them.
pub(crate) fn report_icmp_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, option) = if v6 { (libc::SOL_IPV6, libc::IPV6_RECVERR) } else { (libc::SOL_IP, libc::IP_RECVERR) };
    set_flag(socket, level, option)
}

/// Has the kernel tell each packet's time to live (hop limit).
pub(crate) fn report_ttl(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, option) = if v6 { (libc::SOL_IPV6, libc::IPV6_RECVHOPLIMIT) } else { (libc::SOL_IP, libc::IP_RECVTTL) };
    set_flag(socket, level, option)
}

/// Takes the oldest entry out of the socket's error queue; the buffer receives what the error quotes of our packet.
/// `WouldBlock` when the queue is empty.
pub(crate) fn receive_error(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
}

/// Takes the oldest packet; `WouldBlock` when there is none.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT)
}

/// Reads and resets the counters of a packet socket.
pub(crate) fn capture_count(socket: BorrowedFd<'_>) -> io::Result<CaptureCount> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `stats`, which the kernel fills.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(CaptureCount { lost: stats.tp_drops }) }
}

fn set_flag(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
    // u64s, so that the control messages are aligned as their headers want.
    let mut control = [0u64; 64];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: all-zero is a valid msghdr; the pointers set here outlive the call, and the lengths are theirs.
    let (len, message) = unsafe {
        let header = message.assume_init_mut();
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        (libc::recvmsg(socket.as_raw_fd(), header, flags), &*header)
    };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut received = Received { len: len as usize, ..Received::default() };
    // SAFETY: the kernel has filled `control` with well-formed messages of msg_controllen bytes in total, which is what
    // the CMSG macros walk; each payload is read unaligned, and only if it is long enough.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            let data = libc::CMSG_DATA(header);
            // In u64, because the two have other widths in other C libraries.
            let payload = (header.cmsg_len as u64).saturating_sub(u64::from(libc::CMSG_LEN(0))) as usize;
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT)
                    if payload >= size_of::<libc::c_int>() =>
                {
                    received.ttl = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                }
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
                    if payload >= size_of::<libc::sock_extended_err>() =>
                {
                    let error = data.cast::<libc::sock_extended_err>().read_unaligned();
                    let offender = std::slice::from_raw_parts(data, payload)
                        .get(size_of::<libc::sock_extended_err>()..)
                        .unwrap_or_default();
                    received.icmp = icmp_error(&error, offender);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(message, header);
        }
    }
    Ok(received)
}

/// Reads an extended error and the socket address behind it (`SO_EE_OFFENDER`).
fn icmp_error(error: &libc::sock_extended_err, offender: &[u8]) -> Option<IcmpError> {
    let v6 = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => false,
        libc::SO_EE_ORIGIN_ICMP6 => true,
        _ => return None,
    };
    let family = offender.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let from = match family.map(libc::c_int::from) {
        // sockaddr_in: family, port, address.
        Some(libc::AF_INET) => {
            offender.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(Ipv4Addr::from).map(IpAddr::V4)
        }
        // sockaddr_in6: family, port, flow, address.
        Some(libc::AF_INET6) => {
            offender.get(8..24).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(Ipv6Addr::from).map(IpAddr::V6)
        }
        _ => None,
    };
    Some(IcmpError { kind: error.ee_type, code: error.ee_code, v6, from })
}
