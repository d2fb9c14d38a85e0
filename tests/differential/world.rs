//! The world of a case: API objects, as the enforcer hears of them, and as the oracle sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle::{Cluster, Family, Node, PodName, PodPort, Protocol, Specification};
use serde::{Deserialize, Serialize};

use crate::place::{NODES, Place, node_address};

/// Everything that the API server knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct World {
    #[serde(default)]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(default)]
    pub(crate) pods: Vec<Pod>,
    #[serde(default)]
    pub(crate) policies: Vec<NetworkPolicy>,
    /// The enforcer was killed before it heard of this, and another began with what the kernel holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restarted: bool,
}

/// The protocol that the API calls so; absent means TCP.
fn protocol(name: Option<&str>) -> Protocol {
    match name {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// Whether its containers have ended, so that its address may be somebody else's.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

pub(crate) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

pub(crate) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let listed = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    listed.filter_map(|address| address.ip.parse().ok()).collect()
}

impl World {
    /// The cluster that the oracle judges by. Pods that have ended are none (they have no network any more, P16).
    pub(crate) fn cluster(&self) -> Cluster {
        let namespaces = self.namespaces.iter().map(|namespace| {
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            (namespace.metadata.name.clone().unwrap_or_default(), netpol_oracle::Namespace { labels })
        });
        let pods = self.pods.iter().filter(|pod| !has_ended(pod)).map(|pod| (name(pod), oracle_pod(pod)));
        let nodes = NODES.iter().zip(0..).map(|(name, index)| {
            let ips = [Family::V4, Family::V6].map(|family| node_address(index, family)).to_vec();
            (name.to_string(), Node { ips })
        });
        Cluster {
            namespaces: namespaces.collect(),
            pods: pods.collect(),
            nodes: nodes.collect(),
            policies: self.policies.iter().map(understood).collect(),
        }
    }

    /// How many policies the API server would refuse.
    pub(crate) fn invalid_policies(&self) -> usize {
        self.policies.iter().filter(|policy| !is_valid(policy)).count()
    }

    /// Who has an address of the tested node's pods, by slot; none where two have it, which no cluster has for long.
    pub(crate) fn owners(&self) -> BTreeMap<u8, Vec<PodName>> {
        let mut owners: BTreeMap<u8, Vec<PodName>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| !has_ended(pod) && !is_host_network(pod)) {
            for address in addresses(pod) {
                if let Place::Slot(slot) = Place::of(address) {
                    let of_slot = owners.entry(slot).or_default();
                    if !of_slot.contains(&name(pod)) {
                        of_slot.push(name(pod));
                    }
                }
            }
        }
        owners
    }
}

pub(crate) fn name(pod: &Pod) -> PodName {
    PodName {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// The policy without rules that have no effect (N9), or what becomes of one that the API server would refuse: it isolates, and
/// allows nothing (P31).
fn understood(policy: &NetworkPolicy) -> NetworkPolicy {
    let mut policy = policy.clone();
    let valid = is_valid(&policy);
    if let Some(spec) = &mut policy.spec {
        let egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        let types = spec.policy_types.get_or_insert_default();
        if types.is_empty() {
            types.extend(["Ingress", "Egress"].iter().take(if egress { 2 } else { 1 }).map(|name| name.to_string()));
        }
        let lists = |name: &str| types.iter().any(|listed| listed == name);
        spec.ingress = spec.ingress.take().filter(|_| valid && lists("Ingress"));
        spec.egress = spec.egress.take().filter(|_| valid && lists("Egress"));
    }
    policy
}

/// Whether the API server would take what has an effect in it.
fn is_valid(policy: &NetworkPolicy) -> bool {
    let mut policy = policy.clone();
    if let Some(spec) = &mut policy.spec {
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let lists = |name: &str| types.is_empty() || types.iter().any(|listed| listed == name);
        spec.ingress = spec.ingress.take().filter(|_| lists("Ingress"));
        spec.egress = spec.egress.take().filter(|_| lists("Egress"));
    }
    Specification::new(&Cluster { policies: vec![policy], ..Cluster::default() }).is_ok()
}

fn oracle_pod(pod: &Pod) -> netpol_oracle::Pod {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).map(|port| PodPort {
        name: port.name.clone(),
        protocol: protocol(port.protocol.as_deref()),
        number: port.container_port as u16,
    });
    netpol_oracle::Pod {
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ips: addresses(pod),
        node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        ports: ports.collect(),
        host_network: is_host_network(pod),
    }
}
