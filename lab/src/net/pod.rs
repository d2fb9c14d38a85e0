//! A pod's network namespace, routed behind its node as the `ptp` plugin does it: a veth pair, the gateway's address
//! as a host's on the node's end, a host route to the pod, and in the pod a default route through the gateway; in each family.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::{Family, Reuse, gateway, host};
use super::links::{LOOPBACK, Links, Via};
use super::node::NodeNet;
use super::sysctl;
use crate::namespaces::NetNs;

/// The network of one pod; dropping it takes the link away and gives the addresses back.
#[derive(Debug)]
pub(crate) struct PodNet {
    /// The pod's namespace.
    pub(crate) netns: NetNs,
    /// The pod's primary address.
    pub(crate) address: IpAddr,
    /// The pod's addresses, one per family, the primary one first.
    pub(crate) addresses: Vec<IpAddr>,
    node: Arc<NodeNet>,
    number: u16,
    link: u32,
}

impl PodNet {
    /// Makes a pod's namespace on `node`. It blocks for a few milliseconds. With `reuse_at_once` the pod gets the address
    /// that was given back last, whatever the node's own order is.
    pub(crate) fn create(node: &Arc<NodeNet>, reuse_at_once: bool) -> io::Result<PodNet> {
        if node.pod_cidrs.is_empty() {
            return Err(io::Error::other("the node has no pod CIDR: only hostNetwork pods can run on it"));
        }
        let reuse = if reuse_at_once { Reuse::AtOnce } else { node.reuse };
        let number = node.numbers().take(reuse).ok_or_else(|| {
            io::Error::other(format!("no address is free in {:?}: the node has too many pods", node.pod_cidrs))
        })?;
        let addresses: Vec<IpAddr> = node.pod_cidrs.iter().map(|cidr| host(*cidr, number)).collect();
        match NetNs::create(|| connect(node, number, &addresses)) {
            // The node has a pod CIDR, so there is one.
            Ok((netns, link)) => {
                Ok(PodNet { netns, address: addresses[0], addresses, node: node.clone(), number, link })
            }
            Err(error) => {
                node.numbers().release(number);
                Err(error)
            }
        }
    }
}

/// Connects the calling thread's namespace, which is new, with the node.
fn connect(node: &NodeNet, number: u16, addresses: &[IpAddr]) -> io::Result<u32> {
    let families: Vec<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
    let netns = NetNs::current()?;
    sysctl::families(&families)?;
    sysctl::pod()?;
    let link = {
        let mut links = node.links();
        // Unique on the node, and readable in a rule set or capture: the last number of the pod's addresses.
        let link = links.add_veth(&format!("pod{number}"), &netns, "eth0", None)?;
        for cidr in &node.pod_cidrs {
            links.add_address(link, gateway(*cidr).into())?;
        }
        link
    };
    let mut inside = Links::open()?;
    inside.set_up(LOOPBACK)?;
    let eth0 = inside.index("eth0")?;
    for address in addresses {
        inside.add_address(eth0, (*address).into())?;
    }
    inside.set_up(eth0)?;
    for (cidr, family) in node.pod_cidrs.iter().zip(&families) {
        inside.add_route(gateway(*cidr).into(), Via::Link(eth0))?;
        inside.add_route(family.everything(), Via::Gateway(gateway(*cidr)))?;
    }
    // Last, so that nothing reaches the pod before it can answer. Both ends are up only now, and a route wants that.
    let mut links = node.links();
    addresses.iter().try_for_each(|address| links.add_route((*address).into(), Via::Link(link)))?;
    Ok(link)
}

impl Drop for PodNet {
    fn drop(&mut self) {
        // Without the pair the pod is cut off at once, even if a process in it were still dying.
        if let Err(error) = self.node.links().delete(self.link) {
            tracing::warn!(addresses = ?self.addresses, %error, "cannot delete a pod's link");
        }
        self.node.numbers().release(self.number);
    }
}
