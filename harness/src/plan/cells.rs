//! The matrix of a case.

use super::{Case, Cell, Topology};
use crate::topology::listens;

/// Every cell of a case, in order: each pod to each pod, itself included, with each probe that the receiver listens to.
pub fn cells(case: &Case, topology: &Topology) -> Vec<Cell> {
    let mut cells = Vec::new();
    for from in topology.pods.keys() {
        for (to, receiver) in &topology.pods {
            for traffic in case.probes.keys().copied().filter(|traffic| listens(receiver, *traffic)) {
                cells.push(Cell { from: from.clone(), to: to.clone(), traffic });
            }
        }
    }
    cells
}
