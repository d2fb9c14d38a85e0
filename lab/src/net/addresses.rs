//! The address plan, and the addresses of a node's pods.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Largest number of nodes: each has a /24 of 10.244.0.0/16, and 10.244.0.0/24 stays free.
pub(crate) const MAX_NODES: u16 = 250;

/// The network that the nodes share.
pub(crate) const FABRIC: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 18, 0, 0), 16);

/// The fabric's own address: default gateway of the nodes and address of the API server.
pub(crate) const FABRIC_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

/// InternalIP of the node with this number, counted from 1.
pub(crate) fn node_address(number: u16) -> Ipv4Addr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(172, 18, high, low)
}

/// Pod CIDR of the node with this number, counted from 1.
pub(crate) fn pod_cidr(number: u16) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 244, number.to_be_bytes()[1], 0), 24)
}

/// Gives out the addresses of one pod CIDR in a circle, so that an address rests as long as possible before it is
/// used again. The first host address is the gateway's.
#[derive(Debug)]
pub(crate) struct Addresses {
    cidr: IpNet,
    used: BTreeSet<IpAddr>,
    last: Option<IpAddr>,
}

impl Addresses {
    /// All of `cidr` but network, broadcast and gateway address.
    pub(crate) fn new(cidr: IpNet) -> Addresses {
        Addresses { cidr, used: BTreeSet::new(), last: None }
    }

    /// The address of the node's end of every pod link.
    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        self.cidr.hosts().next()
    }

    /// The next free address, or `None` when all are in use.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let free = |address: &IpAddr| !self.used.contains(address);
        let mut pods = self.cidr.hosts().skip(1);
        let next = match self.last {
            Some(last) => {
                pods.clone().filter(free).find(|address| *address > last).or_else(|| pods.find(|address| free(address)))
            }
            None => pods.find(|address| free(address)),
        }?;
        self.used.insert(next);
        self.last = Some(next);
        Some(next)
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, address: IpAddr) {
        self.used.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_addresses_and_disjoint_pod_cidrs() {
        assert_eq!(node_address(1), Ipv4Addr::new(172, 18, 0, 2));
        assert_eq!(node_address(MAX_NODES), Ipv4Addr::new(172, 18, 0, 251));
        assert_eq!(pod_cidr(2).to_string(), "10.244.2.0/24");
        let cidrs: BTreeSet<_> = (1..=MAX_NODES).map(pod_cidr).collect();
        assert_eq!(cidrs.len(), usize::from(MAX_NODES));
    }

    #[test]
    fn an_address_is_not_used_again_at_once() {
        let mut addresses = Addresses::new("10.244.1.0/24".parse().expect("a CIDR"));
        assert_eq!(addresses.gateway(), Some(IpAddr::from([10, 244, 1, 1])));
        assert_eq!(addresses.take(), Some(IpAddr::from([10, 244, 1, 2])));
        addresses.release(IpAddr::from([10, 244, 1, 2]));
        assert_eq!(addresses.take(), Some(IpAddr::from([10, 244, 1, 3])));
    }

    #[test]
    fn the_circle_closes_and_an_empty_pool_says_so() {
        let mut addresses = Addresses::new("10.0.0.0/29".parse().expect("a CIDR"));
        let all: Vec<_> = std::iter::from_fn(|| addresses.take()).map(|a| a.to_string()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        addresses.release(IpAddr::from([10, 0, 0, 4]));
        assert_eq!(addresses.take(), Some(IpAddr::from([10, 0, 0, 4])));
        assert_eq!(addresses.take(), None);
    }
}
