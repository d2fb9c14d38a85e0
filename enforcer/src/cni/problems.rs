//! What keeps a node's network from being ready, each with what to do.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::routes::PROTOCOL;

/// Something that is wrong on the node or in the cluster. It is tried again until it is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The API server does not know the node.
    #[error("there is no node {node} in the cluster; --node has to be the name of its Node object")]
    NoNode {
        /// The name that was given.
        node: String,
    },
    /// Nobody gave the node addresses for its pods.
    #[error(
        "node {node} has no spec.podCIDRs; the cluster's controller manager has to allocate them \
         (--allocate-node-cidrs and --cluster-cidr; kubeadm: networking.podSubnet)"
    )]
    NoPodCidrs {
        /// The node's name.
        node: String,
    },
    /// A node's pods cannot be reached, because nobody knows by what address.
    #[error("node {node} has no InternalIP of the family of its pod CIDR {cidr}; there is no route to it")]
    NoAddress {
        /// The other node.
        node: String,
        /// Its pods' addresses.
        cidr: IpNet,
    },
    /// Two nodes' pods would share addresses.
    #[error("pod CIDR {cidr} of node {node} overlaps that of another node; there is no route to it")]
    Overlap {
        /// The node that comes later.
        node: String,
        /// Its pods' addresses.
        cidr: IpNet,
    },
    /// The kernel would not forward packets from and to pods.
    #[error(
        "{setting} is not 1 and cannot be set from here ({error}); run `sysctl -w {name}=1` on the node and make it \
         permanent"
    )]
    Forwarding {
        /// The file below /proc/sys.
        setting: PathBuf,
        /// Its name for sysctl.
        name: &'static str,
        /// Why it cannot be read or written.
        error: String,
    },
    /// Somebody else has a route to the same pods.
    #[error(
        "{to} is routed by somebody else already; delete that route (`ip route show {to}`), or remove the other network \
         plugin: ours have protocol {PROTOCOL}"
    )]
    ForeignRoute {
        /// The pods that it leads to.
        to: IpNet,
    },
    /// The other node is not a neighbour.
    #[error("{to} cannot be routed by {via}, because that is no neighbour of this node: nodes have to share a network")]
    NoNeighbour {
        /// The pods.
        to: IpNet,
        /// Their node.
        via: IpAddr,
    },
    /// The kernel refused something else.
    #[error("cannot {doing}: {error}")]
    Kernel {
        /// What was tried.
        doing: String,
        /// What came of it.
        error: String,
    },
    /// No interface carries the node's address.
    #[error("no interface of the node has one of its addresses {addresses:?}, so that its MTU is unknown; give --mtu")]
    Mtu {
        /// The addresses that the Node has.
        addresses: Vec<IpAddr>,
    },
    /// A configuration of another network plugin comes first.
    #[error("the container runtime takes {file} rather than ours; remove the network plugin that it belongs to")]
    OtherConfiguration {
        /// The other file.
        file: PathBuf,
    },
    /// The configuration cannot be written.
    #[error("cannot write {file}: {error}")]
    Configuration {
        /// The file.
        file: PathBuf,
        /// Why.
        error: String,
    },
    /// The enforcer does not answer, or says that it is not ready.
    #[error("no pod may start before the enforcer is ready ({url}): {reason}")]
    Enforcer {
        /// Where it was asked.
        url: String,
        /// What it says.
        reason: String,
    },
}
