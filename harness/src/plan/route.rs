//! Where a cell's probe goes, and which pods may receive it: a Service is resolved to its backends.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use netpol_oracle as oracle;

use super::specification::pod_name;
use super::{Bindings, Cell, Endpoint, PodRef, Topology, Transport};

/// Where a probe goes, under real addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination address as the prober writes it.
    pub to: IpAddr,
    /// The protocol and destination port as the prober writes them.
    pub transport: Transport,
    /// The pods that may receive it, and with which port: several where a Service has several backends.
    pub receivers: BTreeSet<(PodRef, Transport)>,
}

/// The route of a cell; none if one of its pods is not there, has no address of the family, or if nobody stands behind the Service.
pub(super) fn route(cell: &Cell, topology: &Topology, bindings: &Bindings, cluster: &oracle::Cluster) -> Option<Route> {
    let there = |pod: &PodRef| cluster.pods.contains_key(&pod_name(pod));
    let from = bindings.pods.get(&cell.from).filter(|_| there(&cell.from))?;
    let transport = cell.traffic.transport;
    let (to, port, receivers) = match &cell.to {
        Endpoint::Pod(pod) => {
            let bound = bindings.pods.get(pod).filter(|_| there(pod))?;
            (cell.traffic.pick(&bound.ips)?, transport, BTreeSet::from([(pod.clone(), transport)]))
        }
        Endpoint::Service(service) => {
            let address = cell.traffic.pick(&bindings.services.get(service)?.ips)?;
            (address, transport, backends(service, transport, topology, cluster))
        }
        Endpoint::NodePort { service, node_of } => {
            let entry = bindings.pods.get(node_of)?;
            let key = transport.port().map(|(protocol, port)| (protocol.to_owned(), port))?;
            let node_port = *bindings.services.get(service)?.node_ports.get(&key)?;
            let mut behind = backends(service, transport, topology, cluster);
            if is_local(topology.services.get(service)?) {
                behind.retain(|(pod, _)| bindings.pods.get(pod).is_some_and(|bound| bound.node == entry.node));
            }
            (cell.traffic.pick(&entry.node_ips)?, transport.with_port(node_port), behind)
        }
    };
    // A prober without an address of this family cannot send there.
    from.ips.iter().find(|ip| ip.is_ipv6() == to.is_ipv6())?;
    (!receivers.is_empty()).then_some(Route { to, transport: port, receivers })
}

/// Whether a Service's node ports lead to backends on the same node alone, with the client's address kept.
pub(super) fn is_local(service: &Service) -> bool {
    let policy = service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref());
    policy == Some("Local")
}

/// The pods that a Service selects by the labels that they have, with the port behind the Service's.
fn backends(
    service: &PodRef,
    transport: Transport,
    topology: &Topology,
    cluster: &oracle::Cluster,
) -> BTreeSet<(PodRef, Transport)> {
    let spec = topology.services.get(service).and_then(|service| service.spec.as_ref());
    let Some((spec, (protocol, number))) = spec.zip(transport.port()) else { return BTreeSet::new() };
    let port = spec
        .ports
        .iter()
        .flatten()
        .find(|port| port.port == i32::from(number) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
    let Some(port) = port else { return BTreeSet::new() };
    let selector = spec.selector.clone().unwrap_or_default();
    let selected = cluster.pods.iter().filter(|(name, pod)| {
        name.namespace == service.namespace && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    });
    let behind = selected.filter_map(|(name, pod)| {
        let target = match &port.target_port {
            None => Some(number),
            Some(IntOrString::Int(target)) => u16::try_from(*target).ok(),
            // One name may have another number on each pod.
            Some(IntOrString::String(target)) => pod
                .ports
                .iter()
                .find(|own| own.name.as_ref() == Some(target) && own.protocol.to_string() == protocol)
                .map(|own| own.number),
        };
        let pod = PodRef { namespace: name.namespace.clone(), name: name.name.clone() };
        Some((pod, transport.with_port(target?)))
    });
    behind.collect()
}
