//! The address plan, and the addresses of a node's pods. Both families have the same plan: the node's number selects its
//! networks, and a pod has the same number in each of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Largest number of nodes: each has a /24 of 10.244.0.0/16, and 10.244.0.0/24 stays free.
pub(crate) const MAX_NODES: u16 = 250;

/// The number of a node's gateway in its pod CIDR; pods have the numbers after it, the last is IPv4's broadcast address.
const GATEWAY: u16 = 1;
const LAST: u16 = 254;

/// An address family of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// `IPv4` or `IPv6`, as Services and EndpointSlices say.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// Every address of the family.
    pub(crate) fn everything(self) -> IpNet {
        match self {
            Family::V4 => IpNet::V4(Ipv4Net::default()),
            Family::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }

    /// The network that the nodes share; its first address is the fabric's: default gateway of the nodes, and where
    /// the API server listens.
    pub(crate) fn fabric(self) -> IpNet {
        match self {
            Family::V4 => net4([172, 18, 0, 0], 16),
            Family::V6 => net6([0xfd00, 0x172, 0x18, 0, 0], 64),
        }
    }

    /// The network beyond the nodes, of the kind that documentation uses and nobody routes.
    pub(crate) fn outside(self) -> IpNet {
        match self {
            Family::V4 => net4([203, 0, 113, 0], 24),
            Family::V6 => net6([0x2001, 0xdb8, 0, 0, 0], 64),
        }
    }

    /// What all pods' addresses are in.
    pub(crate) fn cluster_cidr(self) -> IpNet {
        match self {
            Family::V4 => net4([10, 244, 0, 0], 16),
            Family::V6 => net6([0xfd00, 0x10, 0x244, 0, 0], 56),
        }
    }

    /// What Services' addresses are in.
    pub(crate) fn service_cidr(self) -> IpNet {
        match self {
            Family::V4 => net4([10, 96, 0, 0], 16),
            Family::V6 => net6([0xfd00, 0x10, 0x96, 0, 0], 112),
        }
    }

    /// Pod CIDR of the node with this number, counted from 1.
    pub(crate) fn pod_cidr(self, node: u16) -> IpNet {
        match self {
            Family::V4 => net4([10, 244, node.to_be_bytes()[1], 0], 24),
            Family::V6 => net6([0xfd00, 0x10, 0x244, node, 0], 64),
        }
    }
}

fn net4(octets: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(octets.into(), length))
}

fn net6([a, b, c, d, e]: [u16; 5], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, 0, 0, 0), length))
}

/// The address with this number in a network.
pub(crate) fn host(network: IpNet, number: u16) -> IpAddr {
    match network {
        IpNet::V4(network) => Ipv4Addr::from_bits(network.network().to_bits() + u32::from(number)).into(),
        IpNet::V6(network) => Ipv6Addr::from_bits(network.network().to_bits() + u128::from(number)).into(),
    }
}

/// That address with the network's prefix length, as a link gets it.
pub(crate) fn host_in(network: IpNet, number: u16) -> IpNet {
    IpNet::new_assert(host(network, number), network.prefix_len())
}

/// The fabric's own address.
pub(crate) fn fabric_address(family: Family) -> IpAddr {
    host(family.fabric(), 1)
}

/// InternalIP of the node with this number, counted from 1.
pub(crate) fn node_address(family: Family, number: u16) -> IpAddr {
    host(family.fabric(), number + 1)
}

/// The address of the node's end of every pod link.
pub(crate) fn gateway(pod_cidr: IpNet) -> IpAddr {
    host(pod_cidr, GATEWAY)
}

/// When an address that was given back is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// As late as possible: numbers go in a circle.
    Late,
    /// At once: the number that was given back last comes first (P16).
    AtOnce,
}

/// The numbers of a node's pods.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    used: BTreeSet<u16>,
    returned: Vec<u16>,
    last: u16,
}

impl Numbers {
    /// A free number, or `None` when all are in use.
    pub(crate) fn take(&mut self, reuse: Reuse) -> Option<u16> {
        let number = match (reuse, self.returned.last().copied()) {
            (Reuse::AtOnce, Some(number)) => number,
            _ => {
                let first = self.last.clamp(GATEWAY, LAST) + 1;
                let circle = (first..=LAST).chain(GATEWAY + 1..first);
                self.last = circle.into_iter().find(|number| !self.used.contains(number))?;
                self.last
            }
        };
        self.returned.retain(|free| *free != number);
        self.used.insert(number);
        Some(number)
    }

    /// Gives a number back.
    pub(crate) fn release(&mut self, number: u16) {
        if self.used.remove(&number) {
            self.returned.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_addresses_and_disjoint_pod_cidrs_in_both_families() {
        assert_eq!(node_address(Family::V4, 1).to_string(), "172.18.0.2");
        assert_eq!(node_address(Family::V4, MAX_NODES).to_string(), "172.18.0.251");
        assert_eq!(node_address(Family::V6, 1).to_string(), "fd00:172:18::2");
        assert_eq!(Family::V4.pod_cidr(2).to_string(), "10.244.2.0/24");
        assert_eq!(Family::V6.pod_cidr(2).to_string(), "fd00:10:244:2::/64");
        for family in [Family::V4, Family::V6] {
            let cidrs: BTreeSet<_> = (1..=MAX_NODES).map(|node| family.pod_cidr(node)).collect();
            assert_eq!(cidrs.len(), usize::from(MAX_NODES));
            assert!(cidrs.iter().all(|cidr| family.cluster_cidr().contains(cidr)));
        }
    }

    #[test]
    fn a_number_is_used_again_late_or_at_once_as_asked() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.take(Reuse::Late), Some(2));
        numbers.release(2);
        assert_eq!(numbers.take(Reuse::Late), Some(3));
        numbers.release(3);
        assert_eq!(numbers.take(Reuse::AtOnce), Some(3));
        assert_eq!(numbers.take(Reuse::AtOnce), Some(2));
        assert_eq!(numbers.take(Reuse::AtOnce), Some(4), "nothing was given back");
    }

    #[test]
    fn the_circle_closes_and_an_empty_pool_says_so() {
        let mut numbers = Numbers::default();
        let all: Vec<_> = std::iter::from_fn(|| numbers.take(Reuse::Late)).collect();
        assert_eq!(all, (2..=254).collect::<Vec<_>>());
        numbers.release(100);
        assert_eq!(numbers.take(Reuse::Late), Some(100));
        assert_eq!(numbers.take(Reuse::AtOnce), None);
    }
}
