//! Events: what the scheduler and the kubelets did with a pod, for `kubectl describe` and `kubectl get events`.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::resources::EVENT;
use crate::api::{DeleteOptions, Part, Store};

/// Events that are kept; older ones go. A cluster forgets them after an hour.
const KEPT: usize = 5_000;

/// Writes events from one component; cheap to clone. Writing takes none of the caller's time.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    sender: mpsc::UnboundedSender<Note>,
    component: &'static str,
    node: String,
}

/// The pod that an event is about, and the container of it if it is about one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// As `spec.containers{main}`; empty if the event is about the whole pod.
    pub(crate) field_path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Note {
    about: About,
    kind: &'static str,
    reason: &'static str,
    message: String,
    component: &'static str,
    node: String,
}

impl Recorder {
    /// Starts the task that writes into `store`; the recorder speaks for `component`.
    pub(crate) fn start(store: Store, component: &'static str) -> Recorder {
        let (sender, mut notes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut journal = Journal::default();
            while let Some(note) = notes.recv().await {
                journal.write(&store, note);
            }
        });
        Recorder { sender, component, node: String::new() }
    }

    /// A recorder that speaks for another component, on `node`.
    pub(crate) fn of(&self, component: &'static str, node: &str) -> Recorder {
        Recorder { sender: self.sender.clone(), component, node: node.to_owned() }
    }

    /// Something that was to be expected.
    pub(crate) fn normal(&self, about: &About, reason: &'static str, message: impl Into<String>) {
        self.note(about, "Normal", reason, message.into());
    }

    /// Something that somebody should look at.
    pub(crate) fn warning(&self, about: &About, reason: &'static str, message: impl Into<String>) {
        self.note(about, "Warning", reason, message.into());
    }

    fn note(&self, about: &About, kind: &'static str, reason: &'static str, message: String) {
        let (about, component, node) = (about.clone(), self.component, self.node.clone());
        // The writer lives as long as the lab.
        let _ = self.sender.send(Note { about, kind, reason, message, component, node });
    }
}

/// What was written: a repetition counts up instead of making another event.
#[derive(Default)]
struct Journal {
    names: HashMap<Note, String>,
    order: VecDeque<Note>,
}

impl Journal {
    fn write(&mut self, store: &Store, note: Note) {
        let namespace = note.about.namespace.as_str();
        if let Some(name) = self.names.get(&note) {
            let again = store.modify(EVENT, namespace, name, Part::Everything, |event| {
                event["count"] = json!(event["count"].as_u64().unwrap_or(1) + 1);
                event["lastTimestamp"] = now().into();
                Ok(())
            });
            if again.is_ok() {
                return;
            }
        }
        let name = format!("{}.{:x}", note.about.name, Timestamp::now().as_nanosecond());
        match store.create(EVENT, namespace, object(&note, &name)) {
            Ok(_) => {
                self.order.push_back(note.clone());
                self.names.insert(note, name);
            }
            // Its namespace is going or gone: nobody will ask.
            Err(status) => tracing::debug!(reason = note.reason, message = status.message, "an event was not taken"),
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
            && let Some(name) = self.names.remove(&oldest)
        {
            let _ = store.delete(EVENT, &oldest.about.namespace, &name, &DeleteOptions::default());
        }
    }
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn object(note: &Note, name: &str) -> Value {
    let Note { about, kind, reason, message, component, node } = note;
    let mut involved = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": about.namespace, "name": about.name, "uid": about.uid,
    });
    if !about.field_path.is_empty() {
        involved["fieldPath"] = about.field_path.as_str().into();
    }
    let mut source = json!({"component": component});
    if !node.is_empty() {
        source["host"] = node.as_str().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "involvedObject": involved,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": source,
        "reportingComponent": component,
        "reportingInstance": node,
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Filter;
    use crate::api::resources::NAMESPACE;

    #[test]
    fn repetitions_are_counted_and_a_gone_namespace_is_nobodys_fault() {
        let store = Store::new();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
        store.create(NAMESPACE, "", namespace).expect("created");
        let about = |namespace: &str| About { namespace: namespace.into(), name: "p".into(), ..About::default() };
        let note = |namespace, message: &str| Note {
            about: about(namespace),
            kind: "Warning",
            reason: "Unhealthy",
            message: message.into(),
            component: "kubelet",
            node: "worker-1".into(),
        };
        let mut journal = Journal::default();
        for (namespace, message) in [("n", "one"), ("n", "one"), ("gone", "one"), ("n", "two")] {
            journal.write(&store, note(namespace, message));
        }
        let mut seen: Vec<(String, u64)> = store
            .list(EVENT, &Filter::default())
            .items
            .iter()
            .map(|event| (event.value()["message"].to_string(), event.value()["count"].as_u64().unwrap_or(0)))
            .collect();
        seen.sort();
        assert_eq!(seen, [("\"one\"".to_owned(), 2), ("\"two\"".to_owned(), 1)]);
    }
}
