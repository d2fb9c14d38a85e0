//! The scheduler: pods without a node go to the Ready nodes in turn, those that their nodeSelector allows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::api::resources::{NODE, POD};
use crate::api::selectors::FieldSelector;
use crate::api::{Filter, From, Object, Part, Status, Store};
use crate::events::{About, Recorder};
use crate::kubelet::condition;
use crate::nodes::is_ready;

/// Binds pods until a watch fails.
///
/// # Errors
/// If the scheduler falls too far behind the changes.
pub(crate) async fn run(store: Store, recorder: Recorder) -> Result<(), Status> {
    let unbound = Filter { fields: FieldSelector::parse(POD, "spec.nodeName=")?, ..Filter::default() };
    let mut pods = store.watch(POD, unbound.clone(), From::Now)?;
    let mut nodes = store.watch(NODE, Filter::default(), From::Now)?;
    let mut scheduler = Scheduler { store, recorder, last: String::new(), refused: HashSet::new() };
    loop {
        tokio::select! {
            event = pods.next() => drop(event?),
            event = nodes.next() => drop(event?),
        }
        while pods.try_next()?.is_some() {}
        while nodes.try_next()?.is_some() {}
        let mut waiting = scheduler.store.list(POD, &unbound).items;
        scheduler.refused.retain(|uid| waiting.iter().any(|pod| pod.uid() == uid));
        if waiting.is_empty() {
            continue;
        }
        // In the order of their creation, so that the same steps give the same places.
        waiting.sort_by_key(|pod| pod.resource_version());
        let nodes = scheduler.store.list(NODE, &Filter::default()).items;
        for pod in waiting {
            scheduler.place(&pod, &nodes);
        }
    }
}

struct Scheduler {
    store: Store,
    recorder: Recorder,
    /// The node that had the last pod: the one after it is next.
    last: String,
    /// Pods that were told why no node takes them.
    refused: HashSet<String>,
}

impl Scheduler {
    fn place(&mut self, pod: &Object, nodes: &[Arc<Object>]) {
        let gates = &pod.value()["spec"]["schedulingGates"];
        let chosen = match gates[0]["name"].as_str() {
            Some(_) => Err(("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates".to_owned())),
            None => self.choose(pod.value(), nodes).map_err(|why| ("Unschedulable", why)),
        };
        let result = self.store.modify(POD, pod.namespace(), pod.name(), Part::Everything, |next| {
            if next["metadata"]["uid"] == pod.uid() && next["spec"]["nodeName"].is_null() {
                let why = chosen.as_ref().err().cloned();
                let scheduled = condition(&next["status"], "PodScheduled", chosen.is_ok(), why);
                next["status"]["phase"] = "Pending".into();
                let others = next["status"]["conditions"].as_array().into_iter().flatten();
                let mut conditions: Vec<Value> = others.filter(|c| c["type"] != "PodScheduled").cloned().collect();
                conditions.push(serde_json::to_value(scheduled).unwrap_or_default());
                next["status"]["conditions"] = conditions.into();
                if let Ok(node) = &chosen {
                    next["spec"]["nodeName"] = node.as_str().into();
                }
            }
            Ok(())
        });
        let about = About {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            field_path: String::new(),
        };
        match (result, chosen) {
            (Err(status), _) => tracing::debug!(pod = pod.name(), message = status.message, "cannot place a pod"),
            (Ok(_), Ok(node)) => {
                let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                self.recorder.normal(&about, "Scheduled", message);
            }
            (Ok(_), Err((_, why))) => {
                if self.refused.insert(pod.uid().to_owned()) {
                    self.recorder.warning(&about, "FailedScheduling", why);
                }
            }
        }
    }

    /// The node for a pod.
    ///
    /// # Errors
    /// Why no node takes it: how many nodes fail for which reason.
    fn choose(&mut self, pod: &Value, nodes: &[Arc<Object>]) -> Result<String, String> {
        crate::placement::supported(&pod["spec"])?;
        let mut fits = Vec::new();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let neighbours = self.store.list(POD, &Filter::default());
        for node in nodes {
            let problem = if !is_ready(node.value()) {
                Some("node(s) were not ready".to_owned())
            } else {
                crate::placement::problem(pod, node.value(), &neighbours.items)
            };
            match problem {
                None => fits.push(node.name()),
                Some(problem) => *reasons.entry(problem).or_default() += 1,
            }
        }
        fits.sort_unstable();
        let next = fits.iter().find(|name| **name > self.last.as_str()).or_else(|| fits.first());
        match next {
            Some(name) => {
                self.last = (*name).to_owned();
                Ok(self.last.clone())
            }
            None => {
                let reasons: Vec<String> =
                    reasons.iter().map(|(problem, count)| format!("{count} {problem}")).collect();
                Err(format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", ")))
            }
        }
    }
}
