//! Deletion: at once, after a grace period (pods), after the contents (namespaces), or after finalizers.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::metadata;
use super::object::Object;
use super::resources::{KINDS, Kind, NAMESPACE, POD};
use super::status::Status;
use super::store::Transaction;
use super::watch::Filter;

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that a pod may take; 0 removes it at once, which is how the kubelet finishes a deletion. Unset: the
    /// pod's own `terminationGracePeriodSeconds`.
    pub grace_period_seconds: Option<i64>,
    /// Only if this is the object's uid.
    pub uid: Option<String>,
    /// Only if this is the object's version.
    pub resource_version: Option<String>,
    /// Check everything, delete nothing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// At once and only this very object: what the kubelet says when a pod's processes are gone.
    pub fn now(uid: &str) -> Self {
        Self { grace_period_seconds: Some(0), uid: Some(uid.into()), ..Self::default() }
    }
}

/// What a deletion has come to.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// The object, in its last version so far.
    pub object: Arc<Object>,
    /// Whether it is gone already; else it is terminating.
    pub gone: bool,
}

impl Transaction<'_> {
    pub(crate) fn delete(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, Status> {
        let present = self.get(kind, namespace, name)?;
        for (what, wanted, found) in [
            ("UID", &options.uid, present.uid()),
            ("ResourceVersion", &options.resource_version, present.metadata("resourceVersion")),
        ] {
            if let Some(wanted) = wanted
                && wanted != found
            {
                let detail =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                return Err(Status::conflict(kind, name, &detail));
            }
        }
        if options.dry_run {
            return Ok(Deletion { object: present, gone: false });
        }
        if *kind == *NAMESPACE {
            return Ok(self.delete_namespace(&present));
        }
        let has_finalizers = !present.value()["metadata"]["finalizers"].is_null();
        let grace = if *kind == *POD { grace_period(present.value(), options) } else { 0 };
        if grace == 0 && !has_finalizers {
            let object = self.remove(kind, &present);
            self.finish_namespace_of(&object);
            return Ok(Deletion { object, gone: true });
        }
        Ok(Deletion { object: self.begin(kind, present, grace), gone: false })
    }

    /// Marks an object as terminating; a later and shorter grace period replaces a longer one.
    fn begin(&mut self, kind: &'static Kind, present: Arc<Object>, grace: i64) -> Arc<Object> {
        let mut next = present.value().clone();
        let metadata = &mut next["metadata"];
        let shorter = metadata["deletionGracePeriodSeconds"].as_i64().is_none_or(|running| grace < running);
        if present.is_terminating() && !shorter {
            return present;
        }
        let deadline = Timestamp::now() + SignedDuration::from_secs(grace);
        metadata["deletionTimestamp"] = metadata::at(deadline).into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
        if let Some(generation) = metadata["generation"].as_u64() {
            metadata["generation"] = json!(generation + 1);
        }
        self.put(kind, Some(present), next)
    }

    fn delete_namespace(&mut self, present: &Arc<Object>) -> Deletion {
        let name = present.name().to_owned();
        let mut object = Arc::clone(present);
        if !present.is_terminating() {
            let mut next = present.value().clone();
            next["metadata"]["deletionTimestamp"] = metadata::now().into();
            next["status"]["phase"] = "Terminating".into();
            object = self.put(NAMESPACE, Some(Arc::clone(present)), next);
        }
        let filter = Filter { namespace: Some(name.clone()), ..Filter::default() };
        for kind in KINDS.into_iter().filter(|kind| kind.namespaced) {
            for content in self.select(kind, &filter) {
                // It cannot be missing: it was listed under the same lock. What terminates already is left alone.
                let _ = self.delete(kind, &name, content.name(), &DeleteOptions::default());
            }
        }
        // Deleting the last of the contents has removed the namespace; an empty one is removed here.
        if self.get(NAMESPACE, "", &name).is_ok() {
            self.finish_namespace(&name);
        }
        let gone = self.get(NAMESPACE, "", &name).is_err();
        Deletion { object, gone }
    }

    /// Removes an object that was only waiting for its finalizers, or for its grace period to become 0.
    pub(crate) fn remove_if_finished(&mut self, kind: &'static Kind, object: &Arc<Object>) {
        let metadata = &object.value()["metadata"];
        let waits = !metadata["finalizers"].is_null() || metadata["deletionGracePeriodSeconds"].as_i64() != Some(0);
        if object.is_terminating() && !waits {
            let last = self.remove(kind, object);
            self.finish_namespace_of(&last);
        }
    }

    fn finish_namespace_of(&mut self, object: &Object) {
        if !object.namespace().is_empty() {
            self.finish_namespace(object.namespace());
        }
    }

    /// Removes a terminating namespace once it is empty.
    fn finish_namespace(&mut self, name: &str) {
        let Ok(namespace) = self.get(NAMESPACE, "", name) else { return };
        let filter = Filter { namespace: Some(name.into()), ..Filter::default() };
        let is_empty = KINDS.into_iter().filter(|k| k.namespaced).all(|k| self.select(k, &filter).is_empty());
        if namespace.is_terminating() && is_empty {
            self.remove(NAMESPACE, &namespace);
        }
    }
}

/// A pod that no node has, or that is finished, needs no time to end.
fn grace_period(pod: &Value, options: &DeleteOptions) -> i64 {
    let unscheduled = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || finished {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}
