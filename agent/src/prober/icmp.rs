//! ICMP echo, through a ping socket where the pod may have one, through a raw socket otherwise.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};
use netpol_wire::Token;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Failure, Reply, any};
use crate::kernel::{self, IcmpError, Received};

/// Bytes of data in an echo request, as ping sends them.
pub(crate) const PAYLOAD: usize = 56;
/// Length of an ICMP echo header.
const HEADER: usize = 8;

/// What came in on an echo socket.
#[derive(Debug)]
pub(crate) enum Echo {
    /// A reply.
    Reply {
        /// The request's sequence number.
        seq: u16,
        /// Bytes of the ICMP message.
        len: usize,
        /// Time to live (hop limit), if the kernel says.
        ttl: Option<u8>,
        /// When it was read.
        at: Instant,
    },
    /// An ICMP error that quotes one of our requests.
    Error {
        /// The request's sequence number.
        seq: u16,
        /// The error.
        error: IcmpError,
    },
}

/// A socket that sends echo requests with one identifier to one address.
#[derive(Debug)]
pub(crate) struct EchoSocket {
    socket: AsyncFd<Socket>,
    id: u16,
    v6: bool,
    raw: bool,
}

impl EchoSocket {
    /// Opens a socket for requests with this identifier. Errors: `PermissionDenied` with the remedy in words when
    /// the pod may have neither kind of socket; `AddrInUse` when a ping socket has the identifier; the routing table's.
    pub(crate) fn open(to: IpAddr, id: u16) -> io::Result<Self> {
        let v6 = to.is_ipv6();
        let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let (socket, raw) = match Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => match Socket::new(domain, Type::RAW.nonblocking(), Some(protocol)) {
                Ok(socket) => (socket, true),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(io::Error::new(
                        error.kind(),
                        "this pod may not send pings: set the sysctl net.ipv4.ping_group_range to include its group, \
                         or add the capability NET_RAW",
                    ));
                }
                Err(error) => return Err(error),
            },
        };
        kernel::report_icmp_errors(socket.as_fd(), v6)?;
        kernel::report_ttl(socket.as_fd(), v6)?;
        if !raw {
            socket.bind(&any(to, id).into())?;
        }
        socket.connect(&SocketAddr::new(to, 0).into())?;
        let socket = kernel::watch(socket, Interest::READABLE | Interest::ERROR)?;
        Ok(Self { socket, id, v6, raw })
    }

    /// The address that requests are sent from.
    pub(crate) fn local_address(&self) -> Option<IpAddr> {
        self.socket.get_ref().local_addr().ok()?.as_socket().map(|address| address.ip())
    }

    /// Sends one request.
    pub(crate) fn send(&self, seq: u16) -> io::Result<()> {
        let payload: [u8; PAYLOAD] = std::array::from_fn(|i| i as u8);
        let header = IcmpEchoHeader { id: self.id, seq };
        // The kernel computes ICMPv6's checksum, which covers addresses.
        let header = if self.v6 {
            Icmpv6Header::new(Icmpv6Type::EchoRequest(header)).to_bytes()
        } else {
            Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(header), &payload).to_bytes()[..HEADER]
                .iter()
                .copied()
                .collect()
        };
        let message = [&header[..], &payload].concat();
        self.socket.get_ref().send(&message).map(drop)
    }

    /// Waits for the next reply, or error, that is about our own requests.
    pub(crate) async fn receive(&self) -> io::Result<Echo> {
        loop {
            let mut guard = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            let mut buffer = [0; 2048];
            let socket = self.socket.get_ref().as_fd();
            // The error queue first: while it is filled, reading may fail with the same error once more.
            match kernel::receive_error(socket, &mut buffer) {
                Ok(received) => match self.error(&received, &buffer) {
                    Some(error) => return Ok(error),
                    None => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match kernel::receive(socket, &mut buffer) {
                Ok(received) => {
                    if let Some(reply) = self.reply(&received, &buffer, Instant::now()) {
                        return Ok(reply);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                // What the queue has just told, or another socket's error that a raw socket sees too.
                Err(_) => {}
            }
        }
    }

    fn error(&self, received: &Received, quoted: &[u8]) -> Option<Echo> {
        let error = received.icmp.clone()?;
        let (_, id, seq) = echo_header(quoted.get(..received.len)?)?;
        (id == self.id).then_some(Echo::Error { seq, error })
    }

    fn reply(&self, received: &Received, packet: &[u8], at: Instant) -> Option<Echo> {
        let packet = packet.get(..received.len)?;
        // Only a raw IPv4 socket hands out the IP header.
        let skip = if self.raw && !self.v6 { usize::from(packet.first()? & 0x0f) * 4 } else { 0 };
        let message = packet.get(skip..)?;
        let (kind, id, seq) = echo_header(message)?;
        let is_reply = kind == if self.v6 { 129 } else { 0 };
        (is_reply && id == self.id).then_some(Echo::Reply { seq, len: message.len(), ttl: received.ttl, at })
    }
}

/// Type, identifier and sequence number of an echo message.
fn echo_header(message: &[u8]) -> Option<(u8, u16, u16)> {
    let header: [u8; HEADER] = message.get(..HEADER)?.try_into().ok()?;
    let [kind, _, _, _, id_high, id_low, seq_high, seq_low] = header;
    Some((kind, u16::from_be_bytes([id_high, id_low]), u16::from_be_bytes([seq_high, seq_low])))
}

/// The whole probe.
pub(super) async fn exchange(n: Token, to: IpAddr) -> Result<Reply, Failure> {
    let socket = EchoSocket::open(to, n.tuple_id()).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => Failure::Nonsense(error.to_string()),
        io::ErrorKind::AddrInUse => Failure::Nonsense(format!("ICMP identifier {} is in use: {error}", n.tuple_id())),
        _ => Failure::Io(error),
    })?;
    socket.send(1)?;
    match socket.receive().await? {
        Echo::Reply { at, .. } => Ok(Reply { at, src_seen: None }),
        Echo::Error { error, .. } => {
            let own = socket.local_address();
            let by_ourselves = super::from_ourselves(&error, own);
            Err(Failure::Icmp(error, by_ourselves))
        }
    }
}
