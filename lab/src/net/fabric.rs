//! The fabric: the namespace of the lab's init, whose bridge stands for the network between nodes.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net};

use super::addresses::{FABRIC, FABRIC_ADDRESS};
use super::links::{LOOPBACK, Links, Via};
use super::sysctl;
use crate::namespaces::NetNs;

/// The bridge and the socket that adds ports to it.
#[derive(Debug)]
pub(crate) struct Fabric {
    links: Mutex<Links>,
    bridge: u32,
}

impl Fabric {
    /// Sets the calling thread's namespace up as the fabric.
    pub(crate) fn set_up() -> io::Result<Fabric> {
        let mut links = Links::open()?;
        sysctl::without_ipv6()?;
        sysctl::routing()?;
        links.set_up(LOOPBACK)?;
        let bridge = links.add_bridge("br0")?;
        links.add_address(bridge, IpNet::V4(Ipv4Net::new_assert(FABRIC_ADDRESS, FABRIC.prefix_len())))?;
        Ok(Fabric { links: Mutex::new(links), bridge })
    }

    /// Plugs a node in: a port here, `eth0` there.
    pub(crate) fn plug(&self, port: &str, node: &NetNs) -> io::Result<()> {
        self.links().add_veth(port, node, "eth0", Some(self.bridge)).map(drop)
    }

    /// Lets what is outside of the nodes, the API server among it, reach the pods of a node.
    pub(crate) fn route_to_pods(&self, cidr: IpNet, node: IpAddr) -> io::Result<()> {
        self.links().add_route(cidr, Via::Gateway(node))
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
