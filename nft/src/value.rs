//! Typed values, as they stand in keys, comparisons and maps.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::InvalidObject;
use crate::protocol::{IcmpType, Icmpv6Type, NfProto, Protocol};

/// The longest interface name, in bytes (IFNAMSIZ less the closing zero).
const IFNAME_MAX: usize = 15;

/// The type of one field of a key, by nft's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// `nf_proto`: the packet's address family.
    NfProto,
    /// `ipv4_addr`.
    Ipv4Addr,
    /// `ipv6_addr`.
    Ipv6Addr,
    /// `inet_proto`: a transport protocol.
    InetProto,
    /// `inet_service`: a port.
    InetService,
    /// `mark`: a packet mark. Has no intervals.
    Mark,
    /// `icmpv6_type`.
    Icmpv6Type,
    /// `ifname`: an interface by name. Has no intervals.
    Ifname,
    /// `icmp_type`.
    IcmpType,
    /// A number without a meaning of its own: what [`Numgen`](crate::Numgen) makes. nft has no named sets of them.
    Integer,
}

impl DataType {
    /// All that named sets can have.
    pub const ALL: [Self; 9] = [
        Self::NfProto,
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetProto,
        Self::InetService,
        Self::Mark,
        Self::Icmpv6Type,
        Self::Ifname,
        Self::IcmpType,
    ];

    /// nft's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::NfProto => "nf_proto",
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Mark => "mark",
            Self::Icmpv6Type => "icmpv6_type",
            Self::Ifname => "ifname",
            Self::IcmpType => "icmp_type",
            Self::Integer => "integer",
        }
    }

    /// The number by which nft(8) knows the type. The kernel only stores it.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::NfProto => 2,
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Mark => 19,
            Self::Icmpv6Type => 29,
            Self::Ifname => 41,
            Self::IcmpType => 14,
            Self::Integer => 4,
        }
    }

    /// Whether values stand in the host's byte order, as numbers of the kernel's own do, so that comparing their bytes
    /// does not order them. nft must be told.
    pub(crate) fn in_host_order(self) -> bool {
        matches!(self, Self::Mark | Self::Ifname | Self::Integer)
    }

    /// Bytes of a value, without padding.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::NfProto | Self::InetProto | Self::IcmpType | Self::Icmpv6Type => 1,
            Self::InetService => 2,
            Self::Ipv4Addr | Self::Mark | Self::Integer => 4,
            Self::Ipv6Addr | Self::Ifname => 16,
        }
    }

    /// Bytes that a value takes in registers and concatenations: a multiple of four.
    pub(crate) fn padded_size(self) -> usize {
        self.size().next_multiple_of(4)
    }

    /// The value that stands in these bytes; `None` if they are too few.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Value> {
        let bytes = bytes.get(..self.size())?;
        Some(match self {
            Self::NfProto => Value::NfProto(if bytes[0] == 2 { NfProto::Ipv4 } else { NfProto::Ipv6 }),
            Self::Ipv4Addr => Value::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            Self::Ipv6Addr => Value::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            Self::InetProto => Value::Protocol(Protocol(bytes[0])),
            Self::InetService => Value::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
            Self::Mark => Value::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::Integer => Value::Integer(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Self::IcmpType => Value::IcmpType(IcmpType(bytes[0])),
            Self::Icmpv6Type => Value::Icmpv6Type(Icmpv6Type(bytes[0])),
            Self::Ifname => {
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                Value::Ifname(String::from_utf8_lossy(name).into_owned())
            }
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One field of a key, or one datum of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An address family.
    NfProto(NfProto),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// A packet mark.
    Mark(u32),
    /// A type of ICMPv6 message.
    Icmpv6Type(Icmpv6Type),
    /// An interface's name, at most 15 bytes.
    Ifname(String),
    /// A type of ICMP message.
    IcmpType(IcmpType),
    /// A number.
    Integer(u32),
}

impl Value {
    /// The type that this value has.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::NfProto(_) => DataType::NfProto,
            Self::Ipv4(_) => DataType::Ipv4Addr,
            Self::Ipv6(_) => DataType::Ipv6Addr,
            Self::Protocol(_) => DataType::InetProto,
            Self::Port(_) => DataType::InetService,
            Self::Mark(_) => DataType::Mark,
            Self::Icmpv6Type(_) => DataType::Icmpv6Type,
            Self::Ifname(_) => DataType::Ifname,
            Self::IcmpType(_) => DataType::IcmpType,
            Self::Integer(_) => DataType::Integer,
        }
    }

    /// The value as the kernel compares it, without padding.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, InvalidObject> {
        Ok(match self {
            Self::NfProto(family) => vec![family.number()],
            Self::Ipv4(address) => address.octets().to_vec(),
            Self::Ipv6(address) => address.octets().to_vec(),
            Self::Protocol(Protocol(number))
            | Self::IcmpType(IcmpType(number))
            | Self::Icmpv6Type(Icmpv6Type(number)) => vec![*number],
            Self::Port(port) => port.to_be_bytes().to_vec(),
            Self::Mark(number) | Self::Integer(number) => number.to_ne_bytes().to_vec(),
            Self::Ifname(name) => {
                if name.is_empty() || name.len() > IFNAME_MAX || name.contains('\0') {
                    return Err(InvalidObject::Ifname { name: name.clone() });
                }
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(DataType::Ifname.size(), 0);
                bytes
            }
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NfProto(NfProto::Ipv4) => f.write_str("ipv4"),
            Self::NfProto(NfProto::Ipv6) => f.write_str("ipv6"),
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Mark(mark) => write!(f, "0x{mark:08x}"),
            Self::IcmpType(kind) => write!(f, "{kind}"),
            Self::Icmpv6Type(kind) => write!(f, "{kind}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Ifname(name) => write!(f, "\"{name}\""),
        }
    }
}

macro_rules! value_from {
    ($($source:ty => $variant:path),+ $(,)?) => {
        $(impl From<$source> for Value {
            fn from(value: $source) -> Self {
                $variant(value)
            }
        })+
    };
}

value_from! {
    NfProto => Value::NfProto,
    Ipv4Addr => Value::Ipv4,
    Ipv6Addr => Value::Ipv6,
    Protocol => Value::Protocol,
    u16 => Value::Port,
    IcmpType => Value::IcmpType,
    Icmpv6Type => Value::Icmpv6Type,
    String => Value::Ifname,
}

impl From<&str> for Value {
    fn from(name: &str) -> Self {
        Self::Ifname(name.to_owned())
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}
