//! Policies as the API server tells them, before anything is assumed of them (P31).
//!
//! A newer server may have fields, and anything may have written a value, that the types do not know: read into types, the one
//! would be dropped and a policy would say less than it does, the other would stop the watch of all policies.

use std::borrow::Cow;

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;
use serde_json::Value;

use super::policies::Policy;

/// A NetworkPolicy whose spec is any JSON.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RawPolicy {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
}

impl Resource for RawPolicy {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "NetworkPolicy".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "networking.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "networkpolicies".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Policy {
    /// Reads a policy of any content. What the types do not know refuses it.
    pub fn read_raw(object: &RawPolicy) -> Self {
        let mut refused = Vec::new();
        let spec = match &with_effect(&object.spec) {
            Value::Null => NetworkPolicySpec::default(),
            spec => {
                let read = serde_ignored::deserialize(spec, |path| {
                    refused.push(format!("{}: unknown field", json_path(&path.to_string())));
                });
                read.unwrap_or_else(|error| {
                    refused.push(format!("spec: {error}"));
                    salvage(spec, &mut refused)
                })
            }
        };
        Self::from_spec(&object.metadata, &spec, refused)
    }
}

/// The spec without the rules of a direction that policyTypes does not list. They have no effect (N9), so that nothing in them,
/// valid or not, makes the rules of the other direction less than they are. Where policyTypes cannot be read, all of it counts.
fn with_effect(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let listed: Option<Vec<&str>> =
        spec["policyTypes"].as_array().and_then(|types| types.iter().map(Value::as_str).collect());
    let known = |types: &Vec<&str>| !types.is_empty() && types.iter().all(|name| ["Ingress", "Egress"].contains(name));
    let Some(listed) = listed.filter(known) else { return spec };
    let without: Vec<&str> = [("Ingress", "ingress"), ("Egress", "egress")]
        .into_iter()
        .filter(|(name, _)| !listed.contains(name))
        .map(|(_, field)| field)
        .collect();
    if let Value::Object(fields) = &mut spec {
        without.iter().for_each(|field| drop(fields.shift_remove(*field)));
    }
    spec
}

/// What has to be known of a policy to close the pods that it is for: whom it selects and in which directions, as far as that
/// can be told. What cannot be told closes more rather than less.
fn salvage(spec: &Value, refused: &mut Vec<String>) -> NetworkPolicySpec {
    let pod_selector = Deserialize::deserialize(&spec["podSelector"]).unwrap_or_else(|error| {
        refused.push(format!("spec.podSelector: {error}; all pods of the namespace are closed"));
        None
    });
    let policy_types = Deserialize::deserialize(&spec["policyTypes"])
        .unwrap_or_else(|_| Some(vec!["Ingress".to_owned(), "Egress".to_owned()]));
    let has_egress = match &spec["egress"] {
        Value::Null => false,
        Value::Array(rules) => !rules.is_empty(),
        _ => true,
    };
    let egress = has_egress.then(|| vec![NetworkPolicyEgressRule::default()]);
    NetworkPolicySpec { pod_selector, policy_types, egress, ingress: None }
}

/// `ingress.0.from.1` as people write it: `spec.ingress[0].from[1]`.
fn json_path(path: &str) -> String {
    let mut text = "spec".to_owned();
    // An optional value is a step of its own there.
    for step in path.split('.').filter(|step| *step != "?") {
        match step.parse::<usize>() {
            Ok(index) => text.push_str(&format!("[{index}]")),
            Err(_) => text.push_str(&format!(".{step}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Selector;
    use serde_json::json;

    fn read(spec: Value) -> Policy {
        Policy::read_raw(&RawPolicy { spec, ..RawPolicy::default() })
    }

    #[test]
    fn what_the_types_know_is_read_as_ever() {
        let spec = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "egress": [{ "ports": [{ "port": 80 }] }] });
        let typed = k8s_openapi::api::networking::v1::NetworkPolicy {
            spec: serde_json::from_value(spec.clone()).unwrap(),
            ..Default::default()
        };
        assert_eq!(read(spec), Policy::read(&typed));
        assert!(read(Value::Null).refused.is_empty());
    }

    #[test]
    fn an_unknown_field_refuses_and_is_named() {
        let policy = read(json!({
            "podSelector": { "matchLabels": { "a": "b" } },
            "ingress": [{}, { "from": [{ "podSelector": {}, "serviceAccounts": [] }], "hours": 9 }],
        }));
        assert_eq!(
            policy.refused,
            ["spec.ingress[1].from[0].serviceAccounts: unknown field", "spec.ingress[1].hours: unknown field"]
        );
        assert_eq!((policy.ingress, policy.egress), (Some(vec![]), None), "closed in its direction");
        assert_ne!(policy.subject, Selector::default(), "and for its pods only");
    }

    #[test]
    fn rules_of_a_direction_that_is_not_listed_refuse_nothing() {
        let rules = [
            json!("all"),
            json!([{ "hours": 9 }]),
            json!([{ "ports": [{ "port": 8.5 }] }]),
            json!([{ "ports": [{ "port": 0 }] }]),
        ];
        for rules in rules {
            let policy =
                read(json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}], "egress": rules }));
            assert_eq!((policy.refused, policy.egress), (vec![], None), "{rules}");
            assert_eq!(policy.ingress.unwrap().len(), 1, "its own rules stand");
            let policy =
                read(json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{}], "ingress": rules }));
            assert_eq!((policy.refused.len(), policy.ingress, policy.egress.unwrap().len()), (0, None, 1), "{rules}");
            // Listed, or listed by default, they do.
            for types in [json!(["Ingress", "Egress"]), json!([]), json!(["Ingress", "Sideways"])] {
                let policy = read(json!({ "podSelector": {}, "policyTypes": types, "ingress": [{}], "egress": rules }));
                assert!(!policy.refused.is_empty(), "{types} {rules}");
                assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])), "{types} {rules}");
            }
        }
    }

    #[test]
    fn a_value_of_another_type_closes_what_the_policy_selects() {
        let policy = read(json!({
            "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Egress"], "egress": [{ "ports": [{ "port": 8.5 }] }],
        }));
        assert_eq!(policy.refused.len(), 1);
        assert_eq!((policy.ingress, policy.egress), (None, Some(vec![])));
        assert_ne!(policy.subject, Selector::default());
        let policy = read(json!({ "podSelector": { "matchLabels": "all" }, "egress": "all" }));
        assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])));
        assert_eq!((policy.subject, policy.refused.len()), (Selector::default(), 2));
        let policy = read(json!({ "podSelector": {}, "policyTypes": "Ingress" }));
        assert_eq!((policy.ingress, policy.egress), (Some(vec![]), Some(vec![])));
    }
}
