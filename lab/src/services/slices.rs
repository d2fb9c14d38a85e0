//! The EndpointSlices of a Service, computed from the pods that its selector selects (pure).

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Whose slices these are, by the label that says so.
pub(super) const MANAGED_BY: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
/// The label that names a slice's Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Endpoints in one slice, at most; as in Kubernetes.
const LONGEST: usize = 100;

/// A port as its pod has it: name, protocol, number.
type Port = (String, String, i32);

/// The slices of a Service with a selector, by name. Pods whose ports have other numbers are in slices of their own.
pub(super) fn slices(service: &Service, pods: &[Pod]) -> BTreeMap<String, EndpointSlice> {
    let Some(spec) = &service.spec else { return BTreeMap::new() };
    let mut groups: BTreeMap<(String, Vec<Port>), Vec<Endpoint>> = BTreeMap::new();
    let unready = spec.publish_not_ready_addresses == Some(true);
    for pod in pods {
        let ports: Vec<Port> = spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect();
        for family in spec.ip_families.iter().flatten() {
            if let Some(endpoint) = endpoint(pod, family == "IPv4", unready) {
                groups.entry((family.clone(), ports.clone())).or_default().push(endpoint);
            }
        }
    }
    // A Service that nobody answers has a slice nevertheless.
    for family in spec.ip_families.iter().flatten() {
        if !groups.keys().any(|(present, _)| present == family) {
            groups.insert((family.clone(), Vec::new()), Vec::new());
        }
    }
    let mut made = BTreeMap::new();
    for ((family, ports), endpoints) in groups {
        let parts = endpoints.chunks(LONGEST).map(<[_]>::to_vec);
        let parts: Vec<Vec<Endpoint>> = if endpoints.is_empty() { vec![Vec::new()] } else { parts.collect() };
        for (part, endpoints) in parts.into_iter().enumerate() {
            let slice = slice(service, &family, &ports, part, endpoints);
            made.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
        }
    }
    made
}

fn slice(service: &Service, family: &str, ports: &[Port], part: usize, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let owner = service.metadata.name.clone().unwrap_or_default();
    // Always the same name for the same content's kind, so that a slice is changed and not replaced.
    let mut hash = DefaultHasher::new();
    (family, ports, part).hash(&mut hash);
    let labels = [MANAGED_BY, (SERVICE_NAME, owner.as_str())].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut labels: BTreeMap<String, String> = labels.into();
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let port = |(name, protocol, number): &Port| EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*number),
        ..EndpointPort::default()
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{owner}-{:05x}", hash.finish() & 0xf_ffff)),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Service".into(),
                name: owner,
                uid: service.metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.iter().map(port).collect()),
    }
}

/// The port's number on this pod; none if the pod has no port of that name and protocol.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let named = ports
                .find(|port| port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
            named?.container_port
        }
    };
    Some((port.name.clone().unwrap_or_default(), protocol, number))
}

/// The pod as an endpoint; none if it has no address of the family, or has ended for good.
fn endpoint(pod: &Pod, ipv4: bool, publish_unready: bool) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let addresses = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut own = addresses.filter(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == ipv4));
    let address = own.next()?.to_owned();
    let conditions = status.conditions.iter().flatten();
    let serving = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let terminating = pod.metadata.deletion_timestamp.is_some();
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish_unready || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(ports: Value) -> Service {
        let spec = json!({"ports": ports, "ipFamilies": ["IPv4"], "clusterIP": "10.96.0.9"});
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec})).expect("a Service")
    }

    fn pod(name: &str, ip: &str, port: u16, status: Value) -> Pod {
        let container = json!({"name": "c", "ports": [{"name": "http", "containerPort": port}]});
        let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [container], "nodeName": "a"}});
        pod["status"] = json!({"phase": "Running", "podIPs": [{"ip": ip}, {"ip": "fd00::1"}],
                               "conditions": [{"type": "Ready", "status": "True"}]});
        for (key, value) in status.as_object().expect("an object") {
            pod["status"][key] = value.clone();
        }
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_named_port_is_resolved_per_pod() {
        let pods = [
            pod("a", "10.0.0.1", 80, json!({})),
            pod("b", "10.0.0.2", 8080, json!({})),
            pod("c", "10.0.0.3", 80, json!({})),
        ];
        let made = slices(&service(json!([{"port": 80, "targetPort": "http", "protocol": "TCP"}])), &pods);
        let mut seen: Vec<(i32, Vec<String>)> = made
            .values()
            .map(|slice| {
                let port = slice.ports.as_ref().and_then(|ports| ports[0].port).expect("a port");
                (port, slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.clone()).collect())
            })
            .collect();
        seen.sort();
        assert_eq!(seen, [(80, vec!["10.0.0.1".into(), "10.0.0.3".into()]), (8080, vec!["10.0.0.2".to_owned()])]);
    }

    #[test]
    fn conditions_follow_readiness_and_deletion_and_the_ended_are_left_out() {
        let mut leaving = pod("leaving", "10.0.0.2", 80, json!({}));
        leaving.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        let pods = [
            pod("unready", "10.0.0.1", 80, json!({"conditions": []})),
            leaving,
            pod("ended", "10.0.0.3", 80, json!({"phase": "Succeeded"})),
        ];
        let made = slices(&service(json!([{"port": 80, "protocol": "TCP"}])), &pods);
        let endpoints = made.values().next().and_then(|slice| slice.endpoints.as_ref()).expect("a slice");
        let conditions: Vec<_> = endpoints
            .iter()
            .map(|e| e.conditions.clone().map(|c| (c.ready, c.serving, c.terminating)).expect("conditions"))
            .collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(conditions, [(no, no, no), (no, yes, yes)]);
    }

    #[test]
    fn a_service_without_endpoints_has_an_empty_slice() {
        let made = slices(&service(json!([{"port": 80}])), &[]);
        assert_eq!(made.values().map(|slice| slice.endpoints.iter().flatten().count()).collect::<Vec<_>>(), [0]);
    }
}
