//! The matrix of a case.

use super::{Case, Cell, Endpoint, Topology, Traffic};
use crate::topology::{listens, serves};

/// Every cell that a case may have, in order: each pod to each pod, itself included, with each probe that the receiver listens to; and
/// to each of the case's Services with each probe that the Service has a port for. A step measures those whose pods are there.
pub fn cells(case: &Case, topology: &Topology) -> Vec<Cell> {
    let mut cells = Vec::new();
    let receivers: Vec<Endpoint> =
        topology.pods.keys().cloned().map(Endpoint::Pod).chain(case.endpoints.iter().cloned()).collect();
    for from in topology.pods.keys() {
        for to in &receivers {
            for traffic in case.probes.keys().copied().filter(|traffic| takes(topology, to, *traffic)) {
                cells.push(Cell { from: from.clone(), to: to.clone(), traffic });
            }
        }
    }
    cells
}

/// Whether a pod listens to this traffic, or a Service has a port for it.
pub(crate) fn takes(topology: &Topology, to: &Endpoint, traffic: Traffic) -> bool {
    match (to.pod(), to.service()) {
        (Some(pod), _) => topology.pods.get(pod).is_some_and(|pod| listens(pod, traffic)),
        (_, Some(service)) => topology.services.get(service).is_some_and(|service| serves(service, traffic)),
        (None, None) => false,
    }
}
