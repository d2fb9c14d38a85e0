//! The scheduler: pods without a node go to the Ready nodes in turn, those that their nodeSelector allows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::resources::{NODE, POD};
use crate::api::selectors::FieldSelector;
use crate::api::{Filter, From, Object, Part, Status, Store};
use crate::kubelet::condition;
use crate::nodes::is_ready;

/// Binds pods until a watch fails.
///
/// # Errors
/// If the scheduler falls too far behind the changes.
pub(crate) async fn run(store: Store) -> Result<(), Status> {
    let unbound = Filter { fields: FieldSelector::parse(POD, "spec.nodeName=")?, ..Filter::default() };
    let mut pods = store.watch(POD, unbound.clone(), From::Now)?;
    let mut nodes = store.watch(NODE, Filter::default(), From::Now)?;
    let mut turn = Turn::default();
    loop {
        tokio::select! {
            event = pods.next() => drop(event?),
            event = nodes.next() => drop(event?),
        }
        while pods.try_next()?.is_some() {}
        while nodes.try_next()?.is_some() {}
        let mut waiting = store.list(POD, &unbound).items;
        if waiting.is_empty() {
            continue;
        }
        // In the order of their creation, so that the same steps give the same places.
        waiting.sort_by_key(|pod| pod.resource_version());
        let ready: Vec<_> = store.list(NODE, &Filter::default()).items;
        for pod in waiting {
            place(&store, &pod, &mut turn, &ready);
        }
    }
}

fn place(store: &Store, pod: &Object, turn: &mut Turn, nodes: &[std::sync::Arc<Object>]) {
    let spec = &pod.value()["spec"];
    let chosen = if spec["affinity"].is_null() {
        turn.next(nodes, &spec["nodeSelector"])
            .ok_or_else(|| format!("0/{} nodes are available: Ready, and with the labels of nodeSelector", nodes.len()))
    } else {
        Err("the lab's scheduler knows nodeName and nodeSelector, and no affinity".to_owned())
    };
    let result = store.modify(POD, pod.namespace(), pod.name(), Part::Everything, |next| {
        if next["metadata"]["uid"] == pod.uid() && next["spec"]["nodeName"].is_null() {
            let why = chosen.as_ref().err().map(|message| ("Unschedulable", message.clone()));
            let scheduled = condition(&next["status"], "PodScheduled", chosen.is_ok(), why);
            next["status"]["phase"] = "Pending".into();
            next["status"]["conditions"] = json!([scheduled]);
            if let Ok(node) = &chosen {
                next["spec"]["nodeName"] = node.as_str().into();
            }
        }
        Ok(())
    });
    if let Err(status) = result {
        tracing::debug!(pod = pod.name(), message = status.message, "cannot place a pod");
    }
}

/// Whose turn it is: the node after the one that had the last pod.
#[derive(Debug, Default)]
struct Turn {
    last: String,
}

impl Turn {
    fn next(&mut self, nodes: &[std::sync::Arc<Object>], selector: &Value) -> Option<String> {
        let fits: BTreeMap<&str, ()> = nodes
            .iter()
            .filter(|node| is_ready(node.value()) && selected(&node.value()["metadata"]["labels"], selector))
            .map(|node| (node.name(), ()))
            .collect();
        let after = fits.keys().find(|name| **name > self.last.as_str()).or_else(|| fits.keys().next());
        self.last = (*after?).to_owned();
        Some(self.last.clone())
    }
}

fn selected(labels: &Value, selector: &Value) -> bool {
    selector.as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value)
}
