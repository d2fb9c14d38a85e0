//! A node's network namespace: `eth0` on the fabric, routes to the other nodes' pods.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::{IpNet, Ipv4Net};

use super::addresses::{Addresses, FABRIC, FABRIC_ADDRESS, node_address, pod_cidr};
use super::fabric::Fabric;
use super::links::{LOOPBACK, Links, Via};
use super::sysctl;
use crate::namespaces::NetNs;

/// The network of one node.
#[derive(Debug)]
pub(crate) struct NodeNet {
    /// The node's namespace.
    pub(crate) netns: NetNs,
    /// Address on the fabric.
    pub(crate) address: IpAddr,
    /// Where the node's pods get their addresses from.
    pub(crate) pod_cidr: IpNet,
    links: Mutex<Links>,
    addresses: Mutex<Addresses>,
}

impl NodeNet {
    /// Makes the namespace of node `number` out of `count`, plugs it into the fabric and routes it.
    pub(crate) fn create(fabric: &Fabric, number: u16, count: u16) -> io::Result<Arc<NodeNet>> {
        let address = node_address(number);
        let cidr = IpNet::V4(pod_cidr(number));
        let (netns, links) = NetNs::create(|| {
            sysctl::without_ipv6()?;
            sysctl::routing()?;
            sysctl::pod()?;
            let netns = NetNs::current()?;
            fabric.plug(&format!("node{number}"), &netns)?;
            let mut links = Links::open()?;
            links.set_up(LOOPBACK)?;
            let eth0 = links.index("eth0")?;
            links.add_address(eth0, IpNet::V4(Ipv4Net::new_assert(address, FABRIC.prefix_len())))?;
            links.set_up(eth0)?;
            links.add_route(IpNet::V4(Ipv4Net::default()), Via::Gateway(FABRIC_ADDRESS.into()))?;
            for other in (1..=count).filter(|other| *other != number) {
                links.add_route(IpNet::V4(pod_cidr(other)), Via::Gateway(node_address(other).into()))?;
            }
            Ok(links)
        })?;
        fabric.route_to_pods(cidr, address.into())?;
        Ok(Arc::new(NodeNet {
            netns,
            address: address.into(),
            pod_cidr: cidr,
            links: Mutex::new(links),
            addresses: Mutex::new(Addresses::new(cidr)),
        }))
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
