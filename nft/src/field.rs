//! The fields of a packet that rules compare and look up.

use std::fmt;

use crate::value::DataType;

/// A field of a packet, or of what the kernel knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `iifname`: the interface by which it came.
    Iifname,
    /// `oifname`: the interface by which it leaves.
    Oifname,
    /// `meta nfproto`: its address family.
    Nfproto,
    /// `meta l4proto`: its transport protocol.
    L4proto,
    /// `meta mark`: its mark.
    Mark,
    /// `ip saddr`: the IPv4 source.
    IpSaddr,
    /// `ip daddr`: the IPv4 destination.
    IpDaddr,
    /// `ip6 saddr`: the IPv6 source.
    Ip6Saddr,
    /// `ip6 daddr`: the IPv6 destination.
    Ip6Daddr,
    /// `th sport`: the source port of TCP, UDP and SCTP alike. Match the protocol as well: other headers have other things there.
    Sport,
    /// `th dport`: the destination port of TCP, UDP and SCTP alike. Match the protocol as well: other headers have other things there.
    Dport,
    /// `icmpv6 type`.
    Icmpv6Type,
    /// `icmp type`.
    IcmpType,
    /// `ct mark`: the mark of the connection.
    CtMark,
    /// `ct original ip saddr`: the IPv4 source of the connection's first packet, before any translation.
    CtOriginalIpSaddr,
    /// `ct original ip daddr`: the IPv4 destination of the connection's first packet, before any translation.
    CtOriginalIpDaddr,
    /// `ct original ip6 saddr`: as in IPv4.
    CtOriginalIp6Saddr,
    /// `ct original ip6 daddr`: as in IPv4.
    CtOriginalIp6Daddr,
    /// `ct original proto-dst`: the destination port of the connection's first packet. Match the protocol as well.
    CtOriginalProtoDst,
}

impl Field {
    pub(crate) const ALL: [Self; 19] = [
        Self::Iifname,
        Self::Oifname,
        Self::Nfproto,
        Self::L4proto,
        Self::Mark,
        Self::IpSaddr,
        Self::IpDaddr,
        Self::Ip6Saddr,
        Self::Ip6Daddr,
        Self::Sport,
        Self::Dport,
        Self::Icmpv6Type,
        Self::IcmpType,
        Self::CtMark,
        Self::CtOriginalIpSaddr,
        Self::CtOriginalIpDaddr,
        Self::CtOriginalIp6Saddr,
        Self::CtOriginalIp6Daddr,
        Self::CtOriginalProtoDst,
    ];

    /// The type of the field's values.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Iifname | Self::Oifname => DataType::Ifname,
            Self::Nfproto => DataType::NfProto,
            Self::L4proto => DataType::InetProto,
            Self::Mark | Self::CtMark => DataType::Mark,
            Self::IpSaddr | Self::IpDaddr | Self::CtOriginalIpSaddr | Self::CtOriginalIpDaddr => DataType::Ipv4Addr,
            Self::Ip6Saddr | Self::Ip6Daddr | Self::CtOriginalIp6Saddr | Self::CtOriginalIp6Daddr => DataType::Ipv6Addr,
            Self::Sport | Self::Dport | Self::CtOriginalProtoDst => DataType::InetService,
            Self::Icmpv6Type => DataType::Icmpv6Type,
            Self::IcmpType => DataType::IcmpType,
        }
    }

    /// nft's name of the field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::Nfproto => "meta nfproto",
            Self::L4proto => "meta l4proto",
            Self::Mark => "meta mark",
            Self::IpSaddr => "ip saddr",
            Self::IpDaddr => "ip daddr",
            Self::Ip6Saddr => "ip6 saddr",
            Self::Ip6Daddr => "ip6 daddr",
            Self::Sport => "th sport",
            Self::Dport => "th dport",
            Self::Icmpv6Type => "icmpv6 type",
            Self::IcmpType => "icmp type",
            Self::CtMark => "ct mark",
            Self::CtOriginalIpSaddr => "ct original ip saddr",
            Self::CtOriginalIpDaddr => "ct original ip daddr",
            Self::CtOriginalIp6Saddr => "ct original ip6 saddr",
            Self::CtOriginalIp6Daddr => "ct original ip6 daddr",
            Self::CtOriginalProtoDst => "ct original proto-dst",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a packet's connection (`ct state`), in nft's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtState {
    /// Belongs to no connection and cannot open one.
    Invalid,
    /// Opens a connection.
    New,
    /// Belongs to a connection that has seen packets in both directions.
    Established,
    /// Belongs to a connection's surroundings, such as an ICMP error (P4).
    Related,
    /// Not tracked at all.
    Untracked,
}

/// The side of its connection that a packet comes from (`ct direction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtDirection {
    /// From the side that opened the connection.
    Original,
    /// From the other side.
    Reply,
}

impl CtDirection {
    /// The kernel's number of the direction.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for CtDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Original => "original",
            Self::Reply => "reply",
        })
    }
}

impl CtState {
    pub(crate) const ALL: [Self; 5] = [Self::Invalid, Self::New, Self::Established, Self::Related, Self::Untracked];

    /// The kernel's bit of the state.
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }
}

impl fmt::Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Untracked => "untracked",
        })
    }
}

/// What has become of a packet's connection (`ct status`), in nft's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtStatus {
    /// Another connection announced it.
    Expected,
    /// Packets came in both directions.
    SeenReply,
    /// It is not removed early when the table is full.
    Assured,
    /// Its first packet has left.
    Confirmed,
    /// Its source is translated.
    Snat,
    /// Its destination is translated.
    Dnat,
    /// It is being removed.
    Dying,
}

impl CtStatus {
    pub(crate) const ALL: [Self; 7] =
        [Self::Expected, Self::SeenReply, Self::Assured, Self::Confirmed, Self::Snat, Self::Dnat, Self::Dying];

    /// The kernel's bit of the status.
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Expected => 1,
            Self::SeenReply => 2,
            Self::Assured => 4,
            Self::Confirmed => 8,
            Self::Snat => 16,
            Self::Dnat => 32,
            Self::Dying => 512,
        }
    }
}

impl fmt::Display for CtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expected => "expected",
            Self::SeenReply => "seen-reply",
            Self::Assured => "assured",
            Self::Confirmed => "confirmed",
            Self::Snat => "snat",
            Self::Dnat => "dnat",
            Self::Dying => "dying",
        })
    }
}
