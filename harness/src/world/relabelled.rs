//! What a case leaves behind that can be put back: policies, and labels of pods and namespaces.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{World, WorldError};
use crate::cluster::persist;
use crate::plan::Topology;

/// An object whose labels a case has changed: kind, real namespace, real name.
type Object = (String, Option<String>, String);
/// By label: its value before, or that there was none.
type Labels = BTreeMap<String, Option<String>>;

/// Labels that a case has changed, with their values before.
#[derive(Debug, Default)]
pub(super) struct Relabelled {
    before: BTreeMap<Object, Labels>,
    /// Labels were put back, and nobody has waited for engines to read that.
    unread: bool,
}

impl World {
    /// Takes note of a patch that is about to be made. One of anything but labels cannot be put back.
    pub fn note_patch(&mut self, kind: &str, name: &str, namespace: Option<&str>, patch: &Value) {
        if kind == "NetworkPolicy" {
            return;
        }
        match (labels_alone(patch), self.own_labels(kind, name, namespace)) {
            (Some(changed), Some(own)) => {
                let object = (kind.to_owned(), namespace.map(str::to_owned), name.to_owned());
                let before = self.relabelled.before.entry(object).or_default();
                before.extend(changed.map(|label| (label.clone(), own.get(label).cloned())));
            }
            _ => self.altered = true,
        }
    }

    /// The labels that the topology gives an object.
    fn own_labels(&self, kind: &str, name: &str, namespace: Option<&str>) -> Option<BTreeMap<String, String>> {
        let Topology { namespaces, pods, .. } = &self.topology;
        let logical =
            |real: &str| self.bindings.namespaces.iter().find(|(_, bound)| *bound == real).map(|found| found.0);
        match kind {
            "Namespace" => {
                let logical = logical(name)?;
                namespaces.iter().find(|namespace| namespace.name_any() == *logical).map(|found| found.labels().clone())
            }
            "Pod" => {
                let logical = logical(namespace?)?;
                let pod = pods.iter().find(|(pod, _)| pod.namespace == *logical && pod.name == name);
                pod.map(|(_, pod)| pod.labels().clone())
            }
            _ => None,
        }
    }

    /// Deletes every policy in the world's namespaces, and puts labels back.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn restore(&mut self) -> Result<(), WorldError> {
        let (params, all) = (DeleteParams::default(), ListParams::default());
        let emptied = self.bindings.namespaces.values().map(|namespace| {
            let policies: Api<NetworkPolicy> = Api::namespaced(self.cluster.client.clone(), namespace);
            let (params, all) = (&params, &all);
            async move { persist(|| policies.delete_collection(params, all)).await }
        });
        try_join_all(emptied)
            .await
            .map_err(|cause| WorldError::Api { tried: "deleting a case's policies", cause: Box::new(cause) })?;
        if self.altered {
            return Ok(());
        }
        for ((kind, namespace, name), labels) in std::mem::take(&mut self.relabelled.before) {
            let patch = json!({"metadata": {"labels": labels}});
            self.cluster.objects.patch(&kind, &name, namespace.as_deref(), &patch).await?;
            self.relabelled.unread = true;
        }
        Ok(())
    }

    /// Whether engines may still know labels of the case before; asked once.
    pub fn has_unread_labels(&mut self) -> bool {
        std::mem::take(&mut self.relabelled.unread)
    }
}

/// The labels that a patch changes, if it changes nothing else.
fn labels_alone(patch: &Value) -> Option<impl Iterator<Item = &String>> {
    let only =
        |value: &'_ Value, key: &str| value.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(key));
    if !only(patch, "metadata") || !only(&patch["metadata"], "labels") {
        return None;
    }
    patch["metadata"]["labels"].as_object().map(|labels| labels.keys())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patches_of_labels_can_be_put_back() {
        let labels = json!({"metadata": {"labels": {"a": "b", "c": null}}});
        assert_eq!(
            labels_alone(&labels).map(|found| found.cloned().collect()),
            Some(vec!["a".to_owned(), "c".to_owned()])
        );
        for other in [
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {}}}),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {}}),
            json!({"metadata": {"labels": null}}),
            json!({"spec": {}}),
            json!([]),
        ] {
            assert!(labels_alone(&other).is_none(), "{other}");
        }
    }
}
