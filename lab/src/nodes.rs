//! Node objects: created at boot, and Ready as soon as what enforces policies on them is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::resources::{NODE, POD};
use crate::api::{Filter, From, Part, Status, Store};
use crate::enforcers::{LABEL, NAMESPACE};
use crate::kubelet::condition;
use crate::net::node::NodeNet;

/// A node, as its kubelet and the controllers share it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// `worker-1` and so on.
    pub(crate) name: String,
    /// Its network.
    pub(crate) net: Arc<NodeNet>,
    /// Whether it is Ready.
    pub(crate) ready: watch::Sender<bool>,
}

/// The name and the label of the node that is not one: the namespace beyond the nodes, for clients from outside.
pub(crate) const OUTSIDE: &str = "outside";
const OUTSIDE_LABEL: &str = "netpol.dev/outside";

impl Node {
    /// Whether it lies beyond the nodes: nothing enforces there, and only hostNetwork pods that name it run there.
    pub(crate) fn is_outside(&self) -> bool {
        self.net.pod_cidrs.is_empty()
    }

    /// The name of the node with this number, counted from 1.
    pub(crate) fn name(number: u16) -> String {
        format!("worker-{number}")
    }
}

/// Creates the Node objects.
///
/// # Errors
/// What the store refuses.
pub(crate) fn register(store: &Store, nodes: &[Node]) -> Result<(), Status> {
    nodes.iter().try_for_each(|node| store.create(NODE, "", object(node)).map(drop))
}

fn object(node: &Node) -> Value {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let internal = |address: &IpAddr| json!({"type": "InternalIP", "address": address});
    let mut addresses: Vec<Value> = node.net.addresses.iter().map(internal).collect();
    addresses.push(json!({"type": "Hostname", "address": node.name}));
    let cidrs: Vec<String> = node.net.pod_cidrs.iter().map(ToString::to_string).collect();
    let mut spec = json!({"podCIDR": cidrs.first(), "podCIDRs": cidrs});
    let mut labels = json!({
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
    });
    if node.is_outside() {
        spec = json!({"taints": [{"key": OUTSIDE_LABEL, "effect": "NoSchedule"}]});
        labels[OUTSIDE_LABEL] = "true".into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": spec,
        "status": {
            "addresses": addresses,
            "conditions": [ready_condition(&Value::Null, false, "")],
            "capacity": {"pods": "250"},
            "allocatable": {"pods": "250"},
            "nodeInfo": {
                "architecture": architecture(),
                "bootID": "",
                "containerRuntimeVersion": concat!("netpol://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": release.trim(),
                "kubeProxyVersion": "",
                "kubeletVersion": concat!("v", env!("CARGO_PKG_VERSION"), "-netpol-lab"),
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "netpol lab",
                "systemUUID": "",
            },
        },
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn ready_condition(present: &Value, ready: bool, enforcer: &str) -> Value {
    let why = if ready {
        ("KubeletReady", "the lab's kubelet is ready, and so is what enforces policies, if anything".to_owned())
    } else {
        ("EnforcerNotReady", format!("the enforcer of this node is not Ready{enforcer}"))
    };
    serde_json::to_value(condition(present, "Ready", ready, Some(why))).unwrap_or_default()
}

/// What a node's condition says of an enforcer that is not Ready.
fn state_of(pod: &Value) -> String {
    let container = &pod["status"]["containerStatuses"][0];
    let waiting = container["state"]["waiting"]["reason"].as_str().unwrap_or("not ready yet");
    let ended = container["lastState"]["terminated"]["exitCode"].as_i64();
    let ended = ended.map(|code| format!(", it ended with exit code {code}")).unwrap_or_default();
    format!(": pod {} is in {waiting}{ended}", pod["metadata"]["name"].as_str().unwrap_or_default())
}

/// Keeps the Ready condition of every node. With `enforced`, a node is Ready while one of the enforcer pods on it is.
///
/// # Errors
/// If the watch falls too far behind, or a node is gone.
pub(crate) async fn keep_conditions(store: Store, nodes: Vec<Node>, enforced: bool) -> Result<(), Status> {
    let filter = Filter { namespace: Some(NAMESPACE.into()), ..Filter::default() };
    let mut watch = store.watch(POD, filter.clone(), From::Now)?;
    let mut published: BTreeMap<String, (bool, String)> = BTreeMap::new();
    loop {
        let pods = store.list(POD, &filter).items;
        for node in &nodes {
            let here = |pod: &Value| {
                pod["spec"]["nodeName"] == node.name.as_str() && !pod["metadata"]["labels"][LABEL].is_null()
            };
            let mut enforcers = pods.iter().map(|pod| pod.value()).filter(|pod| here(pod));
            let ready = !enforced || node.is_outside() || enforcers.clone().any(is_ready);
            let state = enforcers.next().filter(|_| !ready).map(state_of).unwrap_or_default();
            if published.insert(node.name.clone(), (ready, state.clone())) != Some((ready, state.clone())) {
                store.modify(NODE, "", &node.name, Part::Status, |object| {
                    object["status"]["conditions"] = json!([ready_condition(&object["status"], ready, &state)]);
                    Ok(())
                })?;
                node.ready.send_replace(ready);
            }
        }
        watch.next().await?;
        while watch.try_next()?.is_some() {}
    }
}

/// Whether an object's condition Ready holds.
pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
