//! A large cluster as API objects: as many as a real one has, each with labels, addresses of both families and named ports.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The node whose enforcer is measured.
pub(super) const NODE: &str = "node-0";
/// How many pods that node has, in a cluster that is large enough.
const LOCAL_PODS: usize = 250;

/// How much of everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) pods: usize,
    pub(super) namespaces: usize,
    pub(super) policies: usize,
}

impl Size {
    /// A cluster of this many pods, with a tenth as many namespaces and a fifth as many policies.
    pub(super) fn of(pods: usize) -> Self {
        Self { pods, namespaces: (pods / 10).max(1), policies: (pods / 5).max(1) }
    }

    pub(super) fn local_pods(self) -> usize {
        LOCAL_PODS.min(self.pods)
    }
}

pub(super) fn namespace_name(index: usize) -> String {
    format!("namespace-{index}")
}

pub(super) fn namespace(index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": namespace_name(index), "labels": { "team": format!("team-{}", index % 50) } },
    })
}

/// The IPv4 address of the pod of this index.
pub(super) fn address(index: usize) -> Ipv4Addr {
    let (high, low) = (index / 250, index % 250 + 2);
    Ipv4Addr::new(10, (high / 250) as u8, (high % 250) as u8, low as u8)
}

/// The pod of this index. The first ones are the node's own; the index decides about everything else too.
pub(super) fn pod(size: Size, index: usize) -> Value {
    let node = if index < size.local_pods() { NODE.to_owned() } else { format!("node-{}", 1 + index % 100) };
    let (high, low) = (index / 250, index % 250 + 2);
    let v4 = address(index);
    let tier = ["web", "api", "data"][index % 3];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{index}"), "namespace": namespace_name(index % size.namespaces), "uid": format!("uid-{index}"),
            "labels": { "app": format!("app-{}", index % 20), "tier": tier },
        },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "main", "image": "netpol", "ports": [
                { "name": "http", "containerPort": 8000 + index % 7, "protocol": "TCP" },
                { "name": "dns", "containerPort": 53, "protocol": "UDP" },
            ] }],
        },
        "status": {
            "phase": "Running", "podIP": v4, "podIPs": [{ "ip": v4 }, { "ip": format!("fd00::{high:x}:{low:x}") }],
        },
    })
}

/// The policy of this index. Eight shapes take turns, as people write them: by pods, by namespaces, by both, by address, with
/// and without ports.
pub(super) fn policy(size: Size, index: usize) -> Value {
    let app = format!("app-{}", index % 20);
    let team = json!({ "namespaceSelector": { "matchLabels": { "team": format!("team-{}", index % 50) } } });
    let web = json!({ "podSelector": { "matchLabels": { "tier": "web" } } });
    let both = json!({ "podSelector": web["podSelector"], "namespaceSelector": team["namespaceSelector"] });
    let block = json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": [format!("10.{}.0.0/16", index % 200)] } });
    let ports = json!([{ "port": 8000 + index % 7 }, { "port": "http" }, { "protocol": "UDP", "port": 53 }]);
    let spec = match index % 8 {
        0 => json!({ "ingress": [] }),
        1 => json!({ "ingress": [{ "from": [web] }] }),
        2 => json!({ "ingress": [{ "from": [team], "ports": ports }] }),
        3 => json!({ "ingress": [{ "from": [both, block] }], "egress": [{}] }),
        4 => json!({ "policyTypes": ["Egress"], "egress": [{ "to": [{ "namespaceSelector": {} }], "ports": ports }] }),
        5 => json!({ "policyTypes": ["Egress"], "egress": [{ "to": [block] }] }),
        6 => json!({ "ingress": [{ "from": [{ "podSelector": {} }] }] }),
        _ => {
            json!({ "ingress": [{ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": 1, "endPort": 32767 }] }] })
        }
    };
    let mut policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": format!("policy-{index}"), "namespace": namespace_name(index % size.namespaces) },
        "spec": spec,
    });
    policy["spec"]["podSelector"] =
        if index.is_multiple_of(3) { json!({}) } else { json!({ "matchLabels": { "app": app } }) };
    policy
}
