//! The oracle's view of a topology: logical names, bound addresses.

use netpol_oracle as oracle;

use super::{Bindings, BoundPod, OUTSIDE, PodRef, Topology, Transport};

/// The oracle's cluster of a topology's pods under `bindings`, without policies and without the pods that a step creates.
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
    let first = topology.pods.keys().filter(|pod| !topology.later.contains(*pod));
    let missing = first.filter(|pod| place(&mut cluster, topology, pod, bindings).is_none());
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
    let bound = bindings.pods.get(pod)?;
    put(cluster, topology, pod, bound)
}

/// Puts a pod, as its manifest describes it, where `bound` says.
pub(super) fn put(cluster: &mut oracle::Cluster, topology: &Topology, pod: &PodRef, bound: &BoundPod) -> Option<()> {
    let manifest = topology.pods.get(pod)?;
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

/// What the oracle takes a pod for: one of the slot `outside` is nothing but an address, of the family asked for.
pub(super) fn end(
    pod: &PodRef,
    topology: &Topology,
    bindings: &Bindings,
    family: oracle::Family,
) -> Option<oracle::End> {
    if topology.slots.get(pod).is_none_or(|slot| slot != OUTSIDE) {
        return Some(oracle::End::Pod(pod_name(pod)));
    }
    let ips = &bindings.pods.get(pod)?.ips;
    ips.iter().copied().find(|ip| oracle::Family::of(*ip) == family).map(oracle::End::Outside)
}

pub(super) fn traffic(transport: Transport) -> oracle::Traffic {
    match transport {
        Transport::Tcp(port) => oracle::Traffic::Tcp(port),
        Transport::Udp(port) | Transport::RefusedUdp(port) | Transport::FragmentedUdp(port) => {
            oracle::Traffic::Udp(port)
        }
        Transport::Sctp(port) => oracle::Traffic::Sctp(port),
        Transport::Icmp => oracle::Traffic::Icmp,
    }
}
