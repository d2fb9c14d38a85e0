//! `netpol cni`: the plain routed network of a cluster without a network plugin, one process per node.
//!
//! [`nodes`] says what of the cluster's Nodes matters, [`routes`] leads to the other nodes' pods, [`masquerade`] hides pods
//! from what is no pod, and [`conflist`] tells the container runtime how to connect a pod: a veth pair and a host route each
//! (`ptp`), which is what an enforcer needs to see every packet (P22).

mod cli;
pub mod conflist;
mod enforcer_ready;
mod forwarding;
pub mod masquerade;
mod mtu;
pub mod nodes;
mod problems;
pub mod routes;
mod run;
mod status;

pub use cli::CniArgs;
pub use run::run;
