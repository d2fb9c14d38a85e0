//! The hollow objects, each a function of its number.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::api::now;

/// The label of everything hollow.
pub const LABEL: &str = "netpol.dev/hollow";
/// Pods of each hollow node.
pub const PODS_OF_A_NODE: u32 = 250;
/// Pods of each hollow namespace.
pub const PODS_OF_A_NAMESPACE: u32 = 100;

/// When a hollow pod was changed last, by the clock of this machine, in microseconds since 1970: what a watcher's
/// delay is measured by.
pub(super) const CHANGED: &str = "netpol.dev/changed-at-us";

fn node_name(node: u32) -> String {
    format!("hollow-{node}")
}

/// A /24 of 10.128.0.0/9 for each node; later generations of a pod use the upper half of the plan.
fn address(pod: u32, generation: u32) -> Ipv4Addr {
    let (node, number) = (pod / PODS_OF_A_NODE, pod % PODS_OF_A_NODE);
    let base = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    let half = (generation % 2) << 22;
    Ipv4Addr::from(base + half + (node << 8) + number + 2)
}

pub(super) fn node(node: u32) -> Value {
    let time = now();
    let cidr = format!("{}/24", Ipv4Addr::from(u32::from(address(node * PODS_OF_A_NODE, 0)) & !0xff));
    json!({
        "metadata": {
            "name": node_name(node),
            "labels": { LABEL: "", "kubernetes.io/hostname": node_name(node), "kubernetes.io/os": "linux" },
        },
        "spec": {
            "podCIDR": cidr, "podCIDRs": [cidr], "unschedulable": true,
            "taints": [{ "key": LABEL, "effect": "NoSchedule" }],
        },
        "status": {
            "addresses": [{ "type": "Hostname", "address": node_name(node) }],
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Hollow", "lastTransitionTime": time }],
        },
    })
}

/// The name of a hollow namespace.
pub(super) fn namespace_name(pod: u32) -> String {
    format!("hollow-{}", pod / PODS_OF_A_NAMESPACE)
}

pub(super) fn namespace(number: u32) -> Value {
    let name = namespace_name(number * PODS_OF_A_NAMESPACE);
    json!({ "metadata": { "name": name, "labels": { LABEL: "", "team": format!("team-{}", number % 10) } } })
}

/// The name of a pod; each time it is made anew it has another one.
pub(super) fn pod_name(pod: u32, generation: u32) -> String {
    format!("hollow-{pod}-{generation}")
}

pub(super) fn pod(pod: u32, generation: u32) -> Value {
    let (time, address) = (now(), address(pod, generation).to_string());
    let condition = |name: &str| json!({ "type": name, "status": "True", "lastTransitionTime": time });
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({
        "metadata": {
            "name": pod_name(pod, generation), "namespace": namespace_name(pod),
            "labels": { LABEL: "", "app": format!("app-{}", pod % 20), "turn": "0" },
        },
        "spec": {
            "nodeName": node_name(pod / PODS_OF_A_NODE),
            "containers": [{
                "name": "main", "image": "hollow",
                "ports": [{ "name": "http", "containerPort": 8000 + pod % 20 }],
            }],
        },
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "startTime": time,
            "conditions": conditions,
            "containerStatuses": [{
                "name": "main", "image": "hollow", "imageID": "", "ready": true, "started": true, "restartCount": 0,
                "state": { "running": { "startedAt": time } },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_pods_share_an_address() {
        let addresses: BTreeSet<_> = (0..20_000).flat_map(|pod| [address(pod, 0), address(pod, 1)]).collect();
        assert_eq!(addresses.len(), 40_000);
        assert!(addresses.iter().all(|address| address.octets()[0] == 10 && address.octets()[1] >= 128));
        assert_eq!(node(1)["spec"]["podCIDR"], "10.128.1.0/24");
    }
}
