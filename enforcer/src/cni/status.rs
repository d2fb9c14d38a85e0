//! What `netpol cni` tells of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use crate::health::Report;

/// What `/status` tells, as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Status {
    /// The node that it runs on.
    pub(super) node: String,
    /// Whether all Nodes are known.
    pub(super) listed: bool,
    /// Where the node's pods get their addresses from.
    pub(super) pod_cidrs: Vec<IpNet>,
    /// To the pods of the other nodes.
    pub(super) routes: BTreeMap<IpNet, IpAddr>,
    /// The file that the container runtime reads, once it is written.
    pub(super) configuration: Option<PathBuf>,
    /// What keeps it from being ready.
    pub(super) problems: Vec<String>,
}

impl Report for Status {
    fn not_ready(&self) -> Option<String> {
        if !self.listed {
            return Some("waiting for the first list of nodes".to_owned());
        }
        if !self.problems.is_empty() {
            return Some(self.problems.join("; "));
        }
        self.configuration.is_none().then(|| "the network configuration is not written yet".to_owned())
    }
}
