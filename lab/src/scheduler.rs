//! The scheduler: pods without a node go to the Ready nodes in turn, those that their nodeSelector allows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::api::resources::{NODE, POD};
use crate::api::{Filter, From, Object, Part, Status, Store, WatchEvent};
use crate::events::{About, Recorder};
use crate::kubelet::condition;
use crate::nodes::is_ready;
use crate::placement::repels_others;

/// Binds pods until a watch fails.
///
/// # Errors
/// If the scheduler falls too far behind the changes.
pub(crate) async fn run(store: Store, recorder: Recorder) -> Result<(), Status> {
    let mut pods = store.watch(POD, Filter::default(), From::Now)?;
    let mut nodes = store.watch(NODE, Filter::default(), From::Now)?;
    let mut scheduler = Scheduler {
        store,
        recorder,
        last: String::new(),
        refused: HashSet::new(),
        waiting: HashMap::new(),
        repelling: HashMap::new(),
    };
    loop {
        let mut worth_a_try = tokio::select! {
            event = pods.next() => scheduler.learn(&event?),
            event = nodes.next() => event.map(|_| true)?,
        };
        while let Some(event) = pods.try_next()? {
            worth_a_try |= scheduler.learn(&event);
        }
        while nodes.try_next()?.is_some() {
            worth_a_try = true;
        }
        if worth_a_try {
            scheduler.place_all();
        }
    }
}

struct Scheduler {
    store: Store,
    recorder: Recorder,
    /// The node that had the last pod: the one after it is next.
    last: String,
    /// Pods that were told why no node takes them, by uid, as all here.
    refused: HashSet<String>,
    /// Pods without a node.
    waiting: HashMap<String, Arc<Object>>,
    /// Pods that do not bear others beside them. Most clusters have none, so that a pod is placed without a look at the others.
    repelling: HashMap<String, Arc<Object>>,
}

impl Scheduler {
    /// Takes in a change of a pod; whether some pod may have a place by it.
    fn learn(&mut self, event: &WatchEvent) -> bool {
        let pod = event.object();
        let gone = matches!(event, WatchEvent::Deleted(_));
        let repels = repels_others(pod.value());
        if gone || !repels {
            self.repelling.remove(pod.uid());
        } else {
            self.repelling.insert(pod.uid().to_owned(), pod.clone());
        }
        let bound = pod.value()["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        // Somebody else is to bind it.
        let foreign = pod.value()["spec"]["schedulerName"].as_str().is_some_and(|name| name != "default-scheduler");
        if gone || bound || foreign {
            self.waiting.remove(pod.uid());
            self.refused.remove(pod.uid());
            let over = matches!(pod.value()["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            return !self.waiting.is_empty() && (gone || over);
        }
        self.waiting.insert(pod.uid().to_owned(), pod.clone());
        true
    }

    fn place_all(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        // In the order of their creation, so that the same steps give the same places.
        let mut waiting: Vec<Arc<Object>> = self.waiting.values().cloned().collect();
        waiting.sort_by_key(|pod| pod.resource_version());
        let nodes = self.store.list(NODE, &Filter::default()).items;
        for pod in waiting {
            self.place(&pod, &nodes);
        }
    }

    fn place(&mut self, pod: &Object, nodes: &[Arc<Object>]) {
        let gates = &pod.value()["spec"]["schedulingGates"];
        let chosen = match gates[0]["name"].as_str() {
            Some(_) => Err(("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates".to_owned())),
            None => self.choose(pod.value(), nodes).map_err(|why| ("Unschedulable", why)),
        };
        let mut written = false;
        let result = self.store.modify(POD, pod.namespace(), pod.name(), Part::Everything, |next| {
            if next["metadata"]["uid"] == pod.uid() && next["spec"]["nodeName"].is_null() {
                let why = chosen.as_ref().err().cloned();
                let scheduled = condition(&next["status"], "PodScheduled", chosen.is_ok(), why);
                next["status"]["phase"] = "Pending".into();
                let others = next["status"]["conditions"].as_array().into_iter().flatten();
                let mut conditions: Vec<Value> = others.filter(|c| c["type"] != "PodScheduled").cloned().collect();
                conditions.push(serde_json::to_value(scheduled).unwrap_or_default());
                next["status"]["conditions"] = conditions.into();
                written = true;
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
            // What was learnt of it is older than its place.
            (Ok(_), _) if !written => drop(self.waiting.remove(pod.uid())),
            (Ok(bound), Ok(node)) => {
                self.waiting.remove(pod.uid());
                if repels_others(bound.value()) {
                    self.repelling.insert(pod.uid().to_owned(), bound);
                }
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
        // Whoever repels others may be repelled by any; the rest only by those that repel.
        let neighbours: Vec<Arc<Object>> = match repels_others(pod) {
            true => self.store.list(POD, &Filter::default()).items,
            false => self.repelling.values().cloned().collect(),
        };
        for node in nodes {
            let problem = if !is_ready(node.value()) {
                Some("node(s) were not ready".to_owned())
            } else {
                crate::placement::problem(pod, node.value(), &neighbours)
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
