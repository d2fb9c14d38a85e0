//! What every node's proxy has to know of Services: ports, and who answers there (pure).

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netpol_nft::Protocol;

use super::slices::SERVICE_NAME;

/// What the API server fills in for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u64 = 10_800;

/// One port of a Service in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TranslatedPort {
    /// `namespace/service/port/protocol`.
    pub(super) name: String,
    /// The Service's address.
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// The port on every node's address.
    pub(super) node_port: Option<u16>,
    /// `internalTrafficPolicy: Local`.
    pub(super) internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub(super) external_local: bool,
    /// `sessionAffinity: ClientIP`: how long after its last connection a client comes back to the same backend.
    pub(super) affinity: Option<Duration>,
    candidates: Vec<Candidate>,
}

/// Where a connection is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    backend: Backend,
    node: Option<String>,
    ready: bool,
    /// It serves its last requests: used where nobody is ready.
    leaving: bool,
}

impl TranslatedPort {
    /// Who answers: of all nodes, or of one alone.
    pub(super) fn backends(&self, node: Option<&str>) -> Vec<Backend> {
        let here = |c: &&Candidate| node.is_none() || c.node.as_deref() == node;
        let of = |wanted: fn(&Candidate) -> bool| {
            let chosen = self.candidates.iter().filter(here).filter(|c| wanted(c));
            let mut all: Vec<Backend> = chosen.map(|c| c.backend.clone()).collect();
            all.sort();
            all.dedup();
            all
        };
        let ready = of(|c| c.ready);
        if ready.is_empty() { of(|c| c.leaving) } else { ready }
    }
}

/// The ports of all Services that have an address, in the order of the Services.
pub(super) fn translated(services: &[Service], slices: &[EndpointSlice]) -> Vec<TranslatedPort> {
    services.iter().flat_map(|service| of(service, slices)).collect()
}

fn of(service: &Service, slices: &[EndpointSlice]) -> Vec<TranslatedPort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let addresses = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse::<IpAddr>().ok());
    let metadata = &service.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let own: Vec<&EndpointSlice> = slices
        .iter()
        .filter(|slice| {
            let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
            slice.metadata.namespace.as_deref() == namespace && label.map(String::as_str) == name
        })
        .collect();
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let mut made = Vec::new();
    for address in addresses {
        for port in spec.ports.iter().flatten() {
            let kind = port.protocol.as_deref().unwrap_or("TCP");
            let port_name = port.name.as_deref().unwrap_or_default();
            let (Some(protocol), Ok(number)) = (protocol(kind), u16::try_from(port.port)) else { continue };
            let family = own.iter().filter(|slice| (slice.address_type == "IPv4") == address.is_ipv4());
            made.push(TranslatedPort {
                name: format!("{}/{}/{port_name}/{kind}", namespace.unwrap_or_default(), name.unwrap_or_default()),
                address,
                protocol,
                port: number,
                node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
                internal_local: local(&spec.internal_traffic_policy),
                external_local: local(&spec.external_traffic_policy),
                affinity: affinity(spec),
                candidates: family.flat_map(|slice| candidates(slice, port_name, kind)).collect(),
            });
        }
    }
    made
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    let configured =
        spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let seconds = configured.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS);
    (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| Duration::from_secs(seconds))
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "TCP" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        "SCTP" => Some(Protocol::SCTP),
        _ => None,
    }
}

fn candidates(slice: &EndpointSlice, port: &str, protocol: &str) -> Vec<Candidate> {
    let named = slice.ports.iter().flatten().find(|own| {
        own.name.as_deref().unwrap_or_default() == port && own.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    let Some(port) = named.and_then(|named| u16::try_from(named.port?).ok()) else { return Vec::new() };
    let endpoints = slice.endpoints.iter().flatten().filter_map(|endpoint| {
        let address = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        // Unknown counts as ready.
        let ready = conditions.ready.unwrap_or(true);
        let leaving = conditions.terminating == Some(true) && conditions.serving.unwrap_or(ready);
        Some(Candidate { backend: Backend { address, port }, node: endpoint.node_name.clone(), ready, leaving })
    });
    endpoints.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_leaving_answer_where_nobody_is_ready() {
        let service = json!({
            "metadata": {"namespace": "n", "name": "s"},
            "spec": {"clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]},
        });
        let service: Service = serde_json::from_value(service).expect("a Service");
        let endpoint = |ip: &str, node: &str, ready: bool| {
            let conditions = json!({"ready": ready, "serving": true, "terminating": !ready});
            json!({"addresses": [ip], "nodeName": node, "conditions": conditions})
        };
        let slice = json!({
            "metadata": {"namespace": "n", "name": "s-1", "labels": {SERVICE_NAME: "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
            "endpoints": [endpoint("10.0.0.1", "a", true), endpoint("10.0.0.2", "b", false)],
        });
        let slice: EndpointSlice = serde_json::from_value(slice).expect("a slice");
        let ports = translated(&[service], &[slice]);
        let answers = |node| ports[0].backends(node).iter().map(|b| b.address.to_string()).collect::<Vec<_>>();
        assert_eq!(ports[0].name, "n/s//TCP");
        assert_eq!(answers(None), ["10.0.0.1"]);
        assert_eq!(answers(Some("b")), ["10.0.0.2"], "the last one on its node");
        assert!(answers(Some("c")).is_empty());
    }
}
