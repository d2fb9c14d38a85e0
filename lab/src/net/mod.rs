//! The network of the lab: a fabric with a bridge, nodes on it, pods routed behind their node.

pub(crate) mod addresses;
pub(crate) mod fabric;
pub(crate) mod links;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod sysctl;
