//! A connection as the kernel knows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::attribute::{AttributeReader, AttributeWriter};
use crate::protocol::Protocol;
use crate::uapi::conntrack as uapi;

/// A connection. Without translation the reply tuple is the original one with its ends exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The packets of the side that opened it, as that side sends them.
    pub original: Tuple,
    /// The packets of the other side, as that side sends them.
    pub reply: Tuple,
    /// The zone; 0 unless a rule says otherwise.
    pub zone: u16,
    /// The mark of the connection; 0 unless a rule says otherwise.
    pub mark: u32,
    /// The kernel's bits of its status: [`CtStatus`](crate::CtStatus) names some.
    pub status: u32,
    /// The kernel's number of the connection, which tells it from others between the same ends.
    pub id: u32,
}

/// What the packets of one direction have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Where they come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// Their protocol, with what it tells apart.
    pub protocol: TupleProtocol,
}

/// A protocol, with what it tells connections between the same two addresses apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TupleProtocol {
    /// One that has ports.
    Ports {
        /// Which one.
        protocol: Protocol,
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
    /// ICMP, or ICMPv6 between IPv6 addresses.
    Icmp {
        /// Which one.
        protocol: Protocol,
        /// The identifier.
        id: u16,
        /// The type of the message.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Any other.
    Other(Protocol),
}

/// `tcp 10.0.0.1:4711 > 10.0.0.2:80`, or `icmp 10.0.0.1 > 10.0.0.2 id 7`.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source: from, destination: to, protocol } = *self;
        match protocol {
            TupleProtocol::Ports { protocol, source, destination } => {
                write!(f, "{protocol} {} > {}", SocketAddr::new(from, source), SocketAddr::new(to, destination))
            }
            TupleProtocol::Icmp { protocol, id, .. } => write!(f, "{protocol} {from} > {to} id {id}"),
            TupleProtocol::Other(protocol) => write!(f, "{protocol} {from} > {to}"),
        }
    }
}

/// Both directions, each as its packets are sent.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { original, reply, zone, mark, status, id: _ } = self;
        write!(f, "{original}, answered by {reply}, status {status:#x}")?;
        if *mark != 0 {
            write!(f, ", mark {mark:#x}")?;
        }
        if *zone != 0 {
            write!(f, ", zone {zone}")?;
        }
        Ok(())
    }
}

impl TupleProtocol {
    /// The protocol's number.
    pub fn number(self) -> Protocol {
        match self {
            Self::Ports { protocol, .. } | Self::Icmp { protocol, .. } | Self::Other(protocol) => protocol,
        }
    }
}

impl Entry {
    /// Whether one of its four addresses is this one.
    pub fn has_address(&self, address: IpAddr) -> bool {
        [self.original, self.reply].iter().any(|tuple| [tuple.source, tuple.destination].contains(&address))
    }

    /// Whether who has this address takes part in it: opens it, or answers. Addresses that only stand for others, such as a Service's,
    /// do not.
    pub fn is_of(&self, address: IpAddr) -> bool {
        [self.original.source, self.reply.source].contains(&address)
    }

    /// Reads an answer of the kernel; `None` if it has no tuples.
    pub(super) fn read(answer: AttributeReader<'_>) -> Option<Self> {
        Some(Self {
            original: Tuple::read(answer.get(uapi::TUPLE_ORIG)?)?,
            reply: Tuple::read(answer.get(uapi::TUPLE_REPLY)?)?,
            zone: answer.u16(uapi::ZONE).unwrap_or(0),
            mark: answer.u32(uapi::MARK).unwrap_or(0),
            status: answer.u32(uapi::STATUS).unwrap_or(0),
            id: answer.u32(uapi::ID)?,
        })
    }
}

impl Tuple {
    fn read(tuple: AttributeReader<'_>) -> Option<Self> {
        let (ip, proto) = (tuple.get(uapi::TUPLE_IP)?, tuple.get(uapi::TUPLE_PROTO)?);
        let address = |v4, v6| match ip.get(v4) {
            Some(bytes) => Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.0).ok()?))),
            None => Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(v6)?.0).ok()?))),
        };
        let protocol = Protocol(proto.u8(uapi::PROTO_NUM)?);
        let icmp = |id| {
            let (kind, code) = (proto.u8(id + 1)?, proto.u8(id + 2)?);
            Some(TupleProtocol::Icmp { protocol, id: proto.u16(id)?, kind, code })
        };
        let ports = || {
            let (source, destination) = (proto.u16(uapi::PROTO_SRC_PORT)?, proto.u16(uapi::PROTO_DST_PORT)?);
            Some(TupleProtocol::Ports { protocol, source, destination })
        };
        Some(Self {
            source: address(uapi::IP_V4_SRC, uapi::IP_V6_SRC)?,
            destination: address(uapi::IP_V4_DST, uapi::IP_V6_DST)?,
            protocol: icmp(uapi::PROTO_ICMP_ID)
                .or_else(|| icmp(uapi::PROTO_ICMPV6_ID))
                .or_else(ports)
                .unwrap_or(TupleProtocol::Other(protocol)),
        })
    }

    /// Writes the contents of a tuple's attribute.
    pub(super) fn write(&self, tuple: &mut AttributeWriter) {
        tuple.nest(uapi::TUPLE_IP, |ip| {
            write_address(ip, self.source, true);
            write_address(ip, self.destination, false);
        });
        tuple.nest(uapi::TUPLE_PROTO, |proto| {
            proto.bytes(uapi::PROTO_NUM, &[self.protocol.number().0]);
            match self.protocol {
                TupleProtocol::Ports { source, destination, .. } => {
                    proto.u16(uapi::PROTO_SRC_PORT, source);
                    proto.u16(uapi::PROTO_DST_PORT, destination);
                }
                TupleProtocol::Icmp { id, kind, code, .. } => {
                    let first = if self.source.is_ipv4() { uapi::PROTO_ICMP_ID } else { uapi::PROTO_ICMPV6_ID };
                    proto.u16(first, id);
                    proto.bytes(first + 1, &[kind]);
                    proto.bytes(first + 2, &[code]);
                }
                TupleProtocol::Other(_) => {}
            }
        });
    }
}

/// Writes one end of a tuple.
pub(super) fn write_address(ip: &mut AttributeWriter, address: IpAddr, is_source: bool) {
    match address {
        IpAddr::V4(address) => {
            ip.bytes(if is_source { uapi::IP_V4_SRC } else { uapi::IP_V4_DST }, &address.octets());
        }
        IpAddr::V6(address) => {
            ip.bytes(if is_source { uapi::IP_V6_SRC } else { uapi::IP_V6_DST }, &address.octets());
        }
    }
}
