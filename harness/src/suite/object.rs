//! Kubernetes objects inside suites.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

use crate::decode::Report;
use crate::plan::Topology;
use crate::plan::placeholder::{Placeholder, join, map_strings, replace};
use crate::topology::find_namespace;

/// Checks an object that is to be applied: its kind, every key, its namespace, its placeholders. What its values mean is checked
/// in the rehearsal, when placeholders have values.
pub(super) fn check(object: &Value, path: &str, topology: &Topology, report: &mut Report) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("(none)");
    if kind != "NetworkPolicy" {
        let what = format!("kind {kind} cannot be applied by a step");
        report.add(
            &join(path, "kind"),
            what,
            "apply NetworkPolicies; change pods and namespaces by relabel and recreate",
        );
        return;
    }
    let Some(policy) = report.decode::<NetworkPolicy>(object, path) else { return };
    match policy.metadata.namespace {
        None => {
            let what = "the policy has no namespace".to_owned();
            report.add(&join(path, "metadata"), what, "give it a namespace of the topology");
        }
        Some(name) => namespace(&name, &join(path, "metadata.namespace"), topology, report),
    }
    if policy.metadata.name.is_none() {
        report.add(&join(path, "metadata"), "the policy has no name".to_owned(), "give it a name");
    }
    placeholders(object, path, topology, report);
}

/// The kinds that `patch` and `delete` may name.
pub(super) fn check_kind(kind: &str, path: &str, report: &mut Report) {
    if kind != "NetworkPolicy" {
        let what = format!("kind {kind} has no place here");
        report.add(
            &join(path, "kind"),
            what,
            "write NetworkPolicy; change pods and namespaces by relabel and recreate",
        );
    }
}

/// A logical namespace of the topology.
pub(super) fn namespace(name: &str, path: &str, topology: &Topology, report: &mut Report) {
    if let Err(what) = find_namespace(topology, name) {
        report.add(path, what, "name one of its namespaces");
    }
}

/// Every placeholder names a pod or namespace of the topology.
pub(super) fn placeholders(value: &Value, path: &str, topology: &Topology, report: &mut Report) {
    map_strings(value, path, &mut |text, place| {
        // A missing brace was told of when parameters were put in.
        let checked = replace(text, |inner| match inner.contains(':') {
            true => Placeholder::parse(inner, topology).map(|_| None),
            false => Ok(None),
        });
        for what in checked.err().unwrap_or_default() {
            if !what.ends_with("brace") {
                report.add(place, what, "correct its spelling, or the topology's name");
            }
        }
        text.into()
    });
}
