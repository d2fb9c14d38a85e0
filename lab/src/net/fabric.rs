//! The fabric: the namespace of the lab's init, whose bridge stands for the network between nodes, and which routes
//! between that and what lies beyond.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;

use super::addresses::{Family, host_in};
use super::links::{LOOPBACK, Links, Via};
use super::sysctl;
use crate::namespaces::NetNs;

/// The bridge and the socket that adds ports to it.
#[derive(Debug)]
pub(crate) struct Fabric {
    /// The cluster's families, the primary one first.
    pub(crate) families: Vec<Family>,
    links: Mutex<Links>,
    bridge: u32,
}

impl Fabric {
    /// Sets the calling thread's namespace up as the fabric of a cluster with these families, the primary one first.
    pub(crate) fn set_up(families: Vec<Family>) -> io::Result<Fabric> {
        let mut links = Links::open()?;
        sysctl::families(&families)?;
        sysctl::routing(&families)?;
        links.set_up(LOOPBACK)?;
        let bridge = links.add_bridge("br0")?;
        for family in &families {
            links.add_address(bridge, host_in(family.fabric(), 1))?;
        }
        Ok(Fabric { families, links: Mutex::new(links), bridge })
    }

    /// Plugs a node in: a port here, `eth0` there.
    pub(crate) fn plug(&self, port: &str, node: &NetNs) -> io::Result<()> {
        self.links().add_veth(port, node, "eth0", Some(self.bridge)).map(drop)
    }

    /// Connects a namespace beyond the nodes: behind the fabric as a router, and not on the nodes' network.
    pub(super) fn plug_outside(&self, port: &str, outside: &NetNs) -> io::Result<()> {
        let mut links = self.links();
        let link = links.add_veth(port, outside, "eth0", None)?;
        self.families.iter().try_for_each(|family| links.add_address(link, host_in(family.outside(), 1)))
    }

    /// Lets what is outside of the nodes, the API server among it, reach the pods of a node.
    pub(crate) fn route_to_pods(&self, cidr: IpNet, node: IpAddr) -> io::Result<()> {
        self.links().add_route(cidr, Via::Gateway(node))
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
