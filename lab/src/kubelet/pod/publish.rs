//! Writing a pod's status.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Stage, Worker};
use crate::api::Part;
use crate::api::resources::POD;
use crate::kubelet::container::{ContainerRun, Role, State};
use crate::kubelet::status::{Facts, status};

impl Worker {
    /// Publishes whenever something has changed; for a pod with readiness gates also when others have.
    pub(super) async fn keep_published(&self) {
        let mut latest = self.latest.clone();
        let gated = self.spec().readiness_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = latest.changed(), if gated => {}
            }
            let starting = |run: &ContainerRun| {
                run.role == Role::Main
                    && matches!(&run.record().state, State::Waiting { reason: "ContainerCreating", .. })
            };
            // Containers start within a millisecond of each other: one status for all of them.
            if self.stage() != Stage::Running || !self.containers.iter().any(starting) {
                self.publish();
            }
        }
    }

    /// Writes the pod's status.
    pub(super) fn publish(&self) {
        let sandbox = self
            .running
            .get()
            .is_some_and(|pod| pod.host_network || pod.own.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        let stage = self.stage();
        let facts = Facts {
            host_ips: self.kubelet.net.addresses.clone(),
            pod_ips: self.addresses(),
            since: Some(self.started),
            sandbox: sandbox && stage != Stage::Finished,
            initialized: self.initialized.load(Ordering::Relaxed),
            finished: stage == Stage::Finished,
            failure: self.failure.get().cloned(),
            gates: self.spec().readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect(),
        };
        let (namespace, name) = (&self.about.namespace, &self.about.name);
        let written = self.kubelet.store.modify(POD, namespace, name, Part::Status, |pod| {
            // Another pod may have the name by now.
            if pod["metadata"]["uid"].as_str() == Some(&self.about.uid) {
                let next = status(&facts, &self.containers, &pod["status"]);
                pod["status"] = serde_json::to_value(next).unwrap_or_default();
            }
            Ok(())
        });
        if let Err(status) = written {
            tracing::debug!(namespace, name, message = status.message, "a pod's status was not taken");
        }
    }
}
