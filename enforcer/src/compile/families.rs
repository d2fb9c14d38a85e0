//! IPv4 and IPv6: each has sets, maps and matches of its own, so that a rule for one never opens the other (P21).

use std::net::IpAddr;

use netpol_nft::{DataType, Field, Rule};

use crate::world::Direction;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl AddressFamily {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// What ends the names of its sets and maps.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::V4 => DataType::Ipv4Addr,
            Self::V6 => DataType::Ipv6Addr,
        }
    }

    pub(super) fn destination(self) -> Field {
        match self {
            Self::V4 => Field::IpDaddr,
            Self::V6 => Field::Ip6Daddr,
        }
    }

    fn source(self) -> Field {
        match self {
            Self::V4 => Field::IpSaddr,
            Self::V6 => Field::Ip6Saddr,
        }
    }

    /// The other end of a connection that the direction is about.
    pub(super) fn peer_in(self, rule: Rule, direction: Direction, set: String) -> Rule {
        match direction {
            Direction::Ingress => rule.lookup(&[self.source()], set),
            Direction::Egress => rule.lookup(&[self.destination()], set),
        }
    }

    /// The subject's end of a connection that the direction is about.
    pub(super) fn subject_vmap(self, direction: Direction, map: String) -> Rule {
        match direction {
            Direction::Ingress => Rule::new().vmap(&[self.destination()], map),
            Direction::Egress => Rule::new().vmap(&[self.source()], map),
        }
    }
}
