//! The map of the test's cluster: which addresses there are, and where they are from the node that is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpol_oracle::Family;

/// The node whose enforcer is tested.
pub(crate) const NODE: &str = "node-a";
/// All nodes; the first is [`NODE`].
pub(crate) const NODES: [&str; 3] = [NODE, "node-b", "node-c"];
/// How many pods the tested node can have with a network of their own.
pub(crate) const SLOTS: u8 = 4;
/// How many the others can have together.
pub(crate) const REMOTE_SLOTS: u8 = 6;

/// The addresses of a node, by its place in [`NODES`].
pub(crate) fn node_address(index: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1 + index).into(),
        Family::V6 => Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1 + u16::from(index)).into(),
    }
}

/// The address of a pod of the tested node.
pub(crate) fn local_address(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 1, 0, 2 + slot).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2 + u16::from(slot)).into(),
    }
}

/// The address of a pod of another node.
pub(crate) fn remote_address(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 2, slot / 3, 2 + slot).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2 + u16::from(slot)).into(),
    }
}

/// Where packets of an address come from and go to, as the tested node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The pod behind the interface of this slot.
    Slot(u8),
    /// The node itself.
    Node,
    /// Whatever is behind the uplink.
    Uplink,
}

impl Place {
    /// Of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        let family = Family::of(address);
        if address == node_address(0, family) {
            return Self::Node;
        }
        (0..SLOTS).find(|slot| address == local_address(*slot, family)).map_or(Self::Uplink, Self::Slot)
    }
}

/// Whether an outside host can have the address: unicast, routable, and nobody's within the cluster.
pub(crate) fn is_outside(address: IpAddr) -> bool {
    let routable = match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            !(first == 0 || first == 127 || first >= 224 || v4.is_link_local() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            let unicast = !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast();
            unicast && !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none()
        }
    };
    let family = Family::of(address);
    let pods = (0..SLOTS).map(|slot| local_address(slot, family));
    let others = (0..REMOTE_SLOTS).map(|slot| remote_address(slot, family));
    let nodes = (0..NODES.len() as u8).map(|index| node_address(index, family));
    routable && pods.chain(others).chain(nodes).all(|taken| taken != address)
}
