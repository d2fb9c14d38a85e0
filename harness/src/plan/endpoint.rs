//! What a probe goes to.

use std::fmt;

use super::{PodRef, Topology};
use crate::topology::{find_pod, find_service};

/// What a cell probes, by its logical name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `[ns/]pod`: the pod's own address; in the node's network that is the node's.
    Pod(PodRef),
    /// `svc/[ns/]name`: a Service's cluster IP. Ports of probes to it are the Service's.
    Service(PodRef),
    /// `node-port/[ns/]name@[ns/]pod`: a Service by the address of the node that this pod is on. Ports of probes to it are the
    /// Service's too; the node port behind is looked up.
    NodePort {
        /// The Service.
        service: PodRef,
        /// Any pod on the node.
        node_of: PodRef,
    },
}

impl Endpoint {
    /// Reads an endpoint of a topology.
    ///
    /// # Errors
    /// A sentence, where there is no such pod or Service.
    pub(crate) fn parse(text: &str, topology: &Topology) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("svc/") {
            return find_service(topology, name).map(Endpoint::Service);
        }
        let Some(rest) = text.strip_prefix("node-port/") else { return find_pod(topology, text).map(Endpoint::Pod) };
        let (service, pod) =
            rest.split_once('@').ok_or_else(|| format!("'{text}' names no node: write node-port/SERVICE@POD"))?;
        Ok(Endpoint::NodePort { service: find_service(topology, service)?, node_of: find_pod(topology, pod)? })
    }

    /// The pod, where it is one.
    pub fn pod(&self) -> Option<&PodRef> {
        match self {
            Endpoint::Pod(pod) => Some(pod),
            Endpoint::Service(_) | Endpoint::NodePort { .. } => None,
        }
    }

    /// The Service, where it is one.
    pub fn service(&self) -> Option<&PodRef> {
        match self {
            Endpoint::Pod(_) => None,
            Endpoint::Service(service) | Endpoint::NodePort { service, .. } => Some(service),
        }
    }
}

impl From<PodRef> for Endpoint {
    fn from(pod: PodRef) -> Self {
        Endpoint::Pod(pod)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Pod(pod) => write!(f, "{pod}"),
            Endpoint::Service(service) => write!(f, "svc/{service}"),
            Endpoint::NodePort { service, node_of } => write!(f, "node-port/{service}@{node_of}"),
        }
    }
}
