//! A node's network namespace: `eth0` on the fabric, routes to the other nodes' pods. One more like it lies outside.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use super::addresses::{Numbers, Reuse, fabric_address, host, host_in, node_address};
use super::fabric::Fabric;
use super::links::{LOOPBACK, Links, Via};
use super::sysctl;
use crate::namespaces::NetNs;

/// The network of one node.
#[derive(Debug)]
pub(crate) struct NodeNet {
    /// The node's namespace.
    pub(crate) netns: NetNs,
    /// Primary address on the fabric.
    pub(crate) address: IpAddr,
    /// Addresses on the fabric, one per family, the primary one first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the node's pods get their addresses from, one per family in the same order. None outside.
    pub(crate) pod_cidrs: Vec<IpNet>,
    /// When addresses of pods are used again.
    pub(super) reuse: Reuse,
    links: Mutex<Links>,
    numbers: Mutex<Numbers>,
}

impl NodeNet {
    /// Makes the namespace of node `number` out of `count`, plugs it into the fabric and routes it.
    pub(crate) fn create(fabric: &Fabric, number: u16, count: u16, reuse: Reuse) -> io::Result<Arc<NodeNet>> {
        let families = &fabric.families;
        let (netns, links) = NetNs::create(|| {
            let mut links = namespace(fabric, |netns| fabric.plug(&format!("node{number}"), netns))?;
            let eth0 = links.index("eth0")?;
            for family in families {
                links.add_address(eth0, host_in(family.fabric(), number + 1))?;
            }
            links.set_up(eth0)?;
            for family in families {
                links.add_route(family.everything(), Via::Gateway(fabric_address(*family)))?;
                for other in (1..=count).filter(|other| *other != number) {
                    links.add_route(family.pod_cidr(other), Via::Gateway(node_address(*family, other)))?;
                }
            }
            Ok(links)
        })?;
        let addresses: Vec<IpAddr> = families.iter().map(|family| node_address(*family, number)).collect();
        let pod_cidrs: Vec<IpNet> = families.iter().map(|family| family.pod_cidr(number)).collect();
        for (cidr, address) in pod_cidrs.iter().zip(&addresses) {
            fabric.route_to_pods(*cidr, *address)?;
        }
        Ok(NodeNet::new(netns, addresses, pod_cidrs, reuse, links))
    }

    /// Makes the namespace beyond the nodes: it sees them through a router, and has no pods of its own.
    pub(crate) fn create_outside(fabric: &Fabric) -> io::Result<Arc<NodeNet>> {
        let (netns, links) = NetNs::create(|| {
            let mut links = namespace(fabric, |netns| fabric.plug_outside("outside", netns))?;
            let eth0 = links.index("eth0")?;
            for family in &fabric.families {
                links.add_address(eth0, host_in(family.outside(), 2))?;
            }
            links.set_up(eth0)?;
            for family in &fabric.families {
                links.add_route(family.everything(), Via::Gateway(host(family.outside(), 1)))?;
            }
            Ok(links)
        })?;
        let addresses = fabric.families.iter().map(|family| host(family.outside(), 2)).collect();
        Ok(NodeNet::new(netns, addresses, Vec::new(), Reuse::Late, links))
    }

    fn new(netns: NetNs, addresses: Vec<IpAddr>, pod_cidrs: Vec<IpNet>, reuse: Reuse, links: Links) -> Arc<NodeNet> {
        // A cluster has one family at least.
        let address = addresses.first().copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let (links, numbers) = (Mutex::new(links), Mutex::default());
        Arc::new(NodeNet { netns, address, addresses, pod_cidrs, reuse, links, numbers })
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets up the calling thread's namespace, which is new, and lets `plug` connect its `eth0`.
fn namespace(fabric: &Fabric, plug: impl FnOnce(&NetNs) -> io::Result<()>) -> io::Result<Links> {
    sysctl::families(&fabric.families)?;
    sysctl::routing(&fabric.families)?;
    sysctl::pod()?;
    plug(&NetNs::current()?)?;
    let mut links = Links::open()?;
    links.set_up(LOOPBACK)?;
    Ok(links)
}
