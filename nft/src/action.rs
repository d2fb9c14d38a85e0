//! What a rule does to a packet besides a verdict: translations and refusals.

use std::collections::BTreeSet;
use std::fmt;

use crate::protocol::NfProto;
use crate::table::Family;

/// How a translation picks ports and addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatFlag {
    /// `random`: the port is picked by a keyed hash of both ends.
    Random,
    /// `fully-random`: the port is picked at random.
    FullyRandom,
    /// `persistent`: a client gets the same address for each of its connections.
    Persistent,
}

impl NatFlag {
    pub(crate) const ALL: [Self; 3] = [Self::Random, Self::FullyRandom, Self::Persistent];

    /// NF_NAT_RANGE_….
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Random => 4,
            Self::FullyRandom => 16,
            Self::Persistent => 8,
        }
    }

    /// The kernel's flags.
    pub(crate) fn bits(flags: &BTreeSet<Self>) -> u32 {
        flags.iter().map(|flag| flag.bit()).sum()
    }
}

impl fmt::Display for NatFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::FullyRandom => "fully-random",
            Self::Persistent => "persistent",
        })
    }
}

/// Which end of a connection is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NatKind {
    Snat,
    Dnat,
}

impl NatKind {
    /// NFT_NAT_….
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::Dnat => "dnat",
        }
    }
}

/// How the sender of a packet is told that it does not pass (`reject`). For filter chains in input, forward and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// ICMP or ICMPv6: port unreachable; a UDP client sees ECONNREFUSED.
    PortUnreachable,
    /// ICMP or ICMPv6: administratively prohibited.
    AdminProhibited,
    /// A TCP reset. The rule must match TCP before.
    TcpReset,
}

impl Reject {
    /// The type of answer and its code, as the kernel takes them in a table of this family.
    pub(crate) fn numbers(self, family: Family) -> (u32, Option<u8>) {
        let (unreachable, tcp_reset, of_both_families) = (0, 1, 2);
        match (self, family) {
            (Self::TcpReset, _) => (tcp_reset, None),
            (Self::PortUnreachable, Family::Inet) => (of_both_families, Some(1)),
            (Self::AdminProhibited, Family::Inet) => (of_both_families, Some(3)),
            (Self::PortUnreachable, Family::Ip) => (unreachable, Some(3)),
            (Self::AdminProhibited, Family::Ip) => (unreachable, Some(13)),
            (Self::PortUnreachable, Family::Ip6) => (unreachable, Some(4)),
            (Self::AdminProhibited, Family::Ip6) => (unreachable, Some(1)),
        }
    }

    /// The text in a table of this family, for packets that are known to be of `known`.
    pub(crate) fn text(self, table: Family, known: Option<NfProto>) -> &'static str {
        match (self, table, known) {
            (Self::PortUnreachable, Family::Inet, Some(NfProto::Ipv4)) => "reject with icmp port-unreachable",
            (Self::PortUnreachable, Family::Inet, Some(NfProto::Ipv6)) => "reject with icmpv6 port-unreachable",
            (Self::PortUnreachable, _, _) => "reject",
            (Self::AdminProhibited, Family::Inet, _) => "reject with icmpx admin-prohibited",
            (Self::AdminProhibited, Family::Ip, _) => "reject with icmp admin-prohibited",
            (Self::AdminProhibited, Family::Ip6, _) => "reject with icmpv6 admin-prohibited",
            (Self::TcpReset, _, _) => "reject with tcp reset",
        }
    }
}
