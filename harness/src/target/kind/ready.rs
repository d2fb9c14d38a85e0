//! Waiting for a cluster: its nodes, and the CNI's pods. What did not come is said with the reason that the cluster gives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio::time::Instant;

use super::cni_entry::Selected;
use crate::waits::{self, Wait};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What did not become ready.
#[derive(Debug, Error)]
#[error("waited {wait}: {what}")]
pub(super) struct NotReady {
    /// How long.
    pub(super) wait: Wait,
    /// What is missing, with the cluster's reasons.
    pub(super) what: String,
}

/// Waits until so many nodes are Ready.
///
/// # Errors
/// [`NotReady`], with the condition of each that is not.
pub(super) async fn nodes(client: &Client, wanted: usize) -> Result<(), NotReady> {
    let start = Instant::now();
    loop {
        let waiting = match Api::<Node>::all(client.clone()).list(&ListParams::default()).await {
            Ok(listed) => unready_nodes(&listed.items, wanted),
            Err(error) => vec![format!("the API server does not answer: {error}")],
        };
        if waiting.is_empty() {
            return Ok(());
        }
        if start.elapsed() > waits::NODES_READY.limit {
            return Err(NotReady { wait: waits::NODES_READY, what: waiting.join("; ") });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A sentence for each node that is missing or not Ready.
fn unready_nodes(nodes: &[Node], wanted: usize) -> Vec<String> {
    let mut waiting: Vec<_> = nodes.iter().filter_map(unready_node).collect();
    if nodes.len() < wanted {
        waiting.push(format!("only {} of {wanted} nodes have joined", nodes.len()));
    }
    waiting
}

fn unready_node(node: &Node) -> Option<String> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let why = match ready {
        Some(ready) if ready.status == "True" => return None,
        Some(ready) => ready.message.clone().or(ready.reason.clone()).unwrap_or_default(),
        None => "its kubelet has not reported".into(),
    };
    Some(format!("node {} is not Ready: {why}", node.name_any()))
}

/// Waits until the CNI's pods are Ready, on every node where the entry says so.
///
/// # Errors
/// [`NotReady`], with the state of each that is not; at once where an image is not there and cannot be had.
pub(super) async fn pods(client: &Client, selected: &[Selected], nodes: usize) -> Result<(), NotReady> {
    let start = Instant::now();
    let mut images = Images::default();
    loop {
        let mut waiting = Vec::new();
        for of in selected {
            let api = Api::<Pod>::namespaced(client.clone(), &of.namespace);
            match api.list(&ListParams::default().labels(&of.selector)).await {
                Ok(listed) => {
                    images.look(&listed.items);
                    waiting.extend(unready_pods(&listed.items, of, nodes));
                }
                Err(error) => waiting.push(format!("the API server does not answer: {error}")),
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if let Some(refused) = images.refused() {
            return Err(NotReady { wait: waits::IMAGE_PULLS, what: refused });
        }
        if start.elapsed() > waits::CNI_READY.limit {
            return Err(NotReady { wait: waits::CNI_READY, what: waiting.join("; ") });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A sentence for each pod that is missing or not Ready.
fn unready_pods(pods: &[Pod], of: &Selected, nodes: usize) -> Vec<String> {
    let mut waiting: Vec<_> = pods.iter().filter_map(unready_pod).collect();
    let on: BTreeSet<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    let wanted = if of.every_node { nodes } else { 1 };
    if on.len() < wanted {
        waiting.push(format!("pods with {} in {} are on {} of {nodes} nodes", of.selector, of.namespace, on.len()));
    }
    waiting
}

fn unready_pod(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.iter().flatten();
    if conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return None;
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let reasons: Vec<_> = containers
        .filter_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
            let last = last.map(|last| format!(", last exit {}", last.exit_code)).unwrap_or_default();
            let message = waiting.message.clone().unwrap_or_default();
            Some(format!("{}: {} {message}{last}", container.name, waiting.reason.clone()?))
        })
        .collect();
    let phase = status.phase.unwrap_or_else(|| "no phase".into());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| "no node".into());
    Some(
        format!("pod {} on {node} is not Ready ({phase}) {}", pod.name_any(), reasons.join(", ")).trim_end().to_owned(),
    )
}

/// Images that cannot be pulled, since when.
#[derive(Default)]
struct Images {
    failing: BTreeMap<String, Instant>,
    words: BTreeMap<String, String>,
}

impl Images {
    fn look(&mut self, pods: &[Pod]) {
        for pod in pods {
            let status = pod.status.clone().unwrap_or_default();
            let containers = status.init_container_statuses.into_iter().flatten();
            for container in containers.chain(status.container_statuses.into_iter().flatten()) {
                let waiting = container.state.and_then(|state| state.waiting);
                let reason = waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
                let key = format!("{}/{}", pod.name_any(), container.name);
                if !matches!(reason, "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName") {
                    self.failing.remove(&key);
                    continue;
                }
                self.failing.entry(key.clone()).or_insert_with(Instant::now);
                let message = waiting.as_ref().and_then(|waiting| waiting.message.clone()).unwrap_or_default();
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
                // The first message names the cause; the back-off's does not.
                let words = format!("image {} cannot be pulled on {node}: {reason} {message}", container.image);
                let known = self.words.entry(key).or_insert_with(|| words.clone());
                if reason != "ImagePullBackOff" {
                    *known = words;
                }
            }
        }
    }

    fn refused(&self) -> Option<String> {
        let late = self.failing.iter().find(|(_, since)| since.elapsed() > waits::IMAGE_PULLS.limit);
        late.and_then(|(key, _)| self.words.get(key).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: &str, ready: &str, waiting: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("calico-node-{node}")},
            "spec": {"nodeName": node, "containers": []},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "calico-node", "image": "quay.io/calico/node:v1", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"waiting": waiting}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_is_not_ready_is_named_with_the_kubelets_reason() {
        let of = Selected { namespace: "kube-system".into(), selector: "k8s-app=calico-node".into(), every_node: true };
        let ready = pod("a", "True", json!(null));
        let waiting = pod("b", "False", json!({"reason": "ErrImagePull", "message": "no such host"}));
        assert_eq!(unready_pods(&[ready.clone(), pod("b", "True", json!(null))], &of, 2), Vec::<String>::new());
        assert_eq!(
            unready_pods(&[ready.clone(), waiting], &of, 3),
            [
                "pod calico-node-b on b is not Ready (Pending) calico-node: ErrImagePull no such host",
                "pods with k8s-app=calico-node in kube-system are on 2 of 3 nodes",
            ]
        );
        assert_eq!(unready_pods(&[ready], &Selected { every_node: false, ..of }, 3), Vec::<String>::new());
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_by_its_first_words() {
        let mut images = Images::default();
        images.look(&[pod("b", "False", json!({"reason": "ErrImagePull", "message": "no such host"}))]);
        images.look(&[pod("b", "False", json!({"reason": "ImagePullBackOff", "message": "Back-off"}))]);
        let words: Vec<_> = images.words.values().collect();
        assert_eq!(words, ["image quay.io/calico/node:v1 cannot be pulled on b: ErrImagePull no such host"]);
        images.look(&[pod("b", "False", json!({"reason": "ContainerCreating"}))]);
        assert!(images.failing.is_empty());
    }

    #[test]
    fn nodes_that_are_missing_are_counted() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "x-worker"},
            "status": {"conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]},
        }))
        .unwrap();
        assert_eq!(
            unready_nodes(&[node], 3),
            ["node x-worker is not Ready: cni plugin not initialized", "only 1 of 3 nodes have joined"]
        );
    }
}
