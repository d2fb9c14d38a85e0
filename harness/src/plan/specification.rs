//! The oracle's view of a topology: logical names, bound addresses.

use netpol_oracle as oracle;

use super::{Bindings, Cell, PodRef, Topology, Traffic};

/// The oracle's cluster of a topology's pods under `bindings`, without policies.
///
/// # Errors
/// A sentence per pod that `bindings` lacks.
pub(super) fn cluster(topology: &Topology, bindings: &Bindings) -> Result<oracle::Cluster, Vec<String>> {
    let mut cluster = oracle::Cluster::default();
    for namespace in &topology.namespaces {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        cluster.namespaces.insert(name, oracle::Namespace { labels });
    }
    let missing = topology.pods.keys().filter(|pod| place(&mut cluster, topology, pod, bindings).is_none());
    let missing: Vec<String> = missing.map(|pod| format!("pod {pod} has no address")).collect();
    if missing.is_empty() { Ok(cluster) } else { Err(missing) }
}

/// Puts a pod, as its manifest describes it, where `bindings` say; none if they do not.
pub(super) fn place(
    cluster: &mut oracle::Cluster,
    topology: &Topology,
    pod: &PodRef,
    bindings: &Bindings,
) -> Option<()> {
    let (manifest, bound) = (topology.pods.get(pod)?, bindings.pods.get(pod)?);
    let spec = manifest.spec.clone().unwrap_or_default();
    let containers = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let ports = containers.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => oracle::Protocol::Tcp,
            Some("UDP") => oracle::Protocol::Udp,
            Some("SCTP") => oracle::Protocol::Sctp,
            Some(_) => return None,
        };
        let number = u16::try_from(port.container_port).ok()?;
        Some(oracle::PodPort { name: port.name.clone(), protocol, number })
    });
    let placed = oracle::Pod {
        labels: manifest.metadata.labels.clone().unwrap_or_default(),
        ips: bound.ips.clone(),
        node: bound.node.clone(),
        ports: ports.collect(),
        host_network: spec.host_network.unwrap_or(false),
    };
    cluster.nodes.insert(bound.node.clone(), oracle::Node { ips: bound.node_ips.clone() });
    cluster.pods.insert(pod_name(pod), placed);
    Some(())
}

pub(super) fn pod_name(pod: &PodRef) -> oracle::PodName {
    oracle::PodName { namespace: pod.namespace.clone(), name: pod.name.clone() }
}

/// The flow of a cell, in the family of the receiver's primary address.
pub(super) fn flow(cell: &Cell, bindings: &Bindings) -> oracle::Flow {
    let primary = bindings.pods.get(&cell.to).and_then(|bound| bound.ips.first());
    oracle::Flow {
        from: oracle::End::Pod(pod_name(&cell.from)),
        to: oracle::End::Pod(pod_name(&cell.to)),
        traffic: match cell.traffic {
            Traffic::Tcp(port) => oracle::Traffic::Tcp(port),
            Traffic::Udp(port) => oracle::Traffic::Udp(port),
            Traffic::Icmp => oracle::Traffic::Icmp,
        },
        family: primary.map_or(oracle::Family::V4, |ip| oracle::Family::of(*ip)),
    }
}
