//! A pod's network namespace, routed behind its node as the `ptp` plugin does it: a veth pair, the gateway's address
//! as /32 on the node's end, a host route to the pod, and in the pod a default route through the gateway.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::links::{LOOPBACK, Links, Via};
use super::node::NodeNet;
use super::sysctl;
use crate::namespaces::NetNs;

/// The network of one pod; dropping it takes the link away and gives the address back.
#[derive(Debug)]
pub(crate) struct PodNet {
    /// The pod's namespace.
    pub(crate) netns: NetNs,
    /// The pod's address.
    pub(crate) address: IpAddr,
    node: Arc<NodeNet>,
    link: u32,
}

impl PodNet {
    /// Makes a pod's namespace on `node`. It blocks for a few milliseconds.
    pub(crate) fn create(node: &Arc<NodeNet>) -> io::Result<PodNet> {
        let (gateway, address) = {
            let mut addresses = node.addresses();
            let gateway = addresses.gateway();
            gateway.zip(addresses.take()).ok_or_else(|| {
                io::Error::other(format!("no address is free in {}: the node has too many pods", node.pod_cidr))
            })?
        };
        let connected = NetNs::create(|| connect(node, gateway, address));
        match connected {
            Ok((netns, link)) => Ok(PodNet { netns, address, node: node.clone(), link }),
            Err(error) => {
                node.addresses().release(address);
                Err(error)
            }
        }
    }
}

/// Connects the calling thread's namespace, which is new, with the node.
fn connect(node: &NodeNet, gateway: IpAddr, address: IpAddr) -> io::Result<u32> {
    let netns = NetNs::current()?;
    sysctl::without_ipv6()?;
    sysctl::pod()?;
    let name = link_name(address);
    let link = {
        let mut links = node.links();
        let link = links.add_veth(&name, &netns, "eth0", None)?;
        links.add_address(link, gateway.into())?;
        link
    };
    let mut inside = Links::open()?;
    inside.set_up(LOOPBACK)?;
    let eth0 = inside.index("eth0")?;
    inside.add_address(eth0, address.into())?;
    inside.set_up(eth0)?;
    inside.add_route(gateway.into(), Via::Link(eth0))?;
    inside.add_route(IpNet::new_assert(any(gateway), 0), Via::Gateway(gateway))?;
    // Last, so that nothing reaches the pod before it can answer. Both ends are up only now, and a route wants that.
    node.links().add_route(address.into(), Via::Link(link))?;
    Ok(link)
}

/// Name of the node's end: unique per address, and readable in a rule set or capture.
fn link_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("pod{}", u32::from(v4) & 0xffff),
        IpAddr::V6(v6) => format!("pod{:x}", u128::from(v6) & 0xffff_ffff),
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Drop for PodNet {
    fn drop(&mut self) {
        // Without the pair the pod is cut off at once, even if a process in it were still dying.
        if let Err(error) = self.node.links().delete(self.link) {
            tracing::warn!(address = %self.address, %error, "cannot delete a pod's link");
        }
        self.node.addresses().release(self.address);
    }
}
