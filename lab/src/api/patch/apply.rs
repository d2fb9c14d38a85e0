//! Server-side apply: the configuration is merged into the object; what the same manager applied before and does not
//! name any more is removed, unless another manager has it too; what another manager has set to another value is a
//! conflict.

use serde_json::{Map, Value, json};

use super::fields::{ATOMIC_MAPS, fields_of, is_empty, remove_dropped};
use super::lists::{ListType, list_type, same_item};
use super::managers::{managed_part, put_entries, settle, take_entries};
use crate::api::metadata::now;
use crate::api::parameters::Parameters;
use crate::api::resources::Kind;
use crate::api::status::Status;

/// A configuration to apply on behalf of a manager.
#[derive(Debug)]
pub(crate) struct Apply {
    manager: String,
    subresource: Option<String>,
    force: bool,
    config: Value,
}

impl Apply {
    /// # Errors
    /// 400 without `fieldManager`, or with `managedFields` in the configuration.
    pub(super) fn new(
        kind: &'static Kind,
        mut config: Value,
        parameters: &Parameters,
        subresource: Option<&str>,
    ) -> Result<Self, Status> {
        let Some(manager) = parameters.text("fieldManager") else {
            return Err(Status::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        };
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if config["kind"] != kind.kind || config["apiVersion"] != kind.api_version() {
            let message = format!("an apply patch must carry apiVersion {} and kind {}", kind.api_version(), kind.kind);
            return Err(Status::bad_request(message));
        }
        if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|_, value| !value.is_null());
        }
        let force = parameters.flag("force");
        Ok(Self { manager: manager.to_owned(), subresource: subresource.map(str::to_owned), force, config })
    }

    /// Merges the configuration into `target`, which may be a new object.
    ///
    /// # Errors
    /// 409 with a cause for each field that another manager has set to another value.
    pub(crate) fn edit(&self, kind: &'static Kind, target: &mut Value) -> Result<(), Status> {
        let fields = fields_of(kind, &managed_part(&self.config));
        let mut entries = take_entries(target);
        let is_own = |entry: &Value| {
            entry["manager"] == self.manager.as_str()
                && entry["operation"] == "Apply"
                && entry["subresource"].as_str() == self.subresource.as_deref()
        };
        let mut others: Vec<&mut Value> = entries.iter_mut().filter(|entry| !is_own(entry)).collect();
        settle(kind, &fields, &self.config, target, &mut others, self.force)?;
        merge(kind, target, &self.config);
        let before = entries.iter().find(|entry| is_own(entry)).map(|entry| entry["fieldsV1"].clone());
        if let Some(before) = &before {
            let others = entries.iter().filter(|entry| !is_own(entry)).map(|entry| &entry["fieldsV1"]);
            let kept: Vec<&Value> = std::iter::once(&fields).chain(others).collect();
            remove_dropped(kind, target, before, &kept);
        }
        match entries.iter_mut().find(|entry| is_own(entry)) {
            // The time stays, so that applying the same thing again changes nothing.
            Some(entry) if before.as_ref() == Some(&fields) => entry["apiVersion"] = kind.api_version().into(),
            Some(entry) => {
                entry["fieldsV1"] = fields;
                entry["time"] = now().into();
            }
            None => {
                let mut entry = json!({
                    "manager": self.manager, "operation": "Apply", "apiVersion": kind.api_version(),
                    "time": now(), "fieldsType": "FieldsV1", "fieldsV1": fields,
                });
                if let Some(subresource) = &self.subresource {
                    entry["subresource"] = subresource.as_str().into();
                }
                entries.push(entry);
            }
        }
        entries.retain(|entry| !is_empty(&entry["fieldsV1"]));
        put_entries(target, entries);
        Ok(())
    }
}

fn merge(kind: &'static Kind, target: &mut Value, config: &Value) {
    let Some(config) = config.as_object() else {
        *target = config.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in config {
        let present = target.entry(key.clone()).or_insert(Value::Null);
        match value {
            Value::Object(_) if !ATOMIC_MAPS.contains(&key.as_str()) => merge(kind, present, value),
            Value::Array(items) => merge_list(kind, key, present, items),
            plain => *present = plain.clone(),
        }
    }
}

fn merge_list(kind: &'static Kind, field: &str, present: &mut Value, items: &[Value]) {
    let list = list_type(kind, field);
    if list == ListType::Atomic || !present.is_array() {
        *present = Value::Array(items.to_vec());
        return;
    }
    let Some(present) = present.as_array_mut() else { return };
    for item in items {
        match list {
            ListType::Map(keys) => match present.iter_mut().find(|other| same_item(keys, other, item)) {
                Some(other) => merge(kind, other, item),
                None => present.push(item.clone()),
            },
            _ if present.contains(item) => {}
            _ => present.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resources::{NETWORK_POLICY, POD};

    fn apply(kind: &'static Kind, manager: &str, config: Value, target: &mut Value) {
        try_apply(kind, manager, config, target, false).unwrap();
    }

    fn try_apply(
        kind: &'static Kind,
        manager: &str,
        config: Value,
        target: &mut Value,
        force: bool,
    ) -> Result<(), Status> {
        Apply { manager: manager.into(), subresource: None, force, config }.edit(kind, target)
    }

    #[test]
    fn another_value_is_a_conflict_until_it_is_forced() {
        let image = |image: &str| json!({ "spec": { "containers": [{ "name": "a", "image": image }] } });
        let mut pod = json!({ "metadata": {} });
        apply(POD, "one", image("x"), &mut pod);
        apply(POD, "two", image("x"), &mut pod);
        let refused = try_apply(POD, "two", image("y"), &mut pod, false).unwrap_err();
        assert_eq!((refused.code, refused.causes.len()), (409, 1));
        assert_eq!(refused.causes[0].field, r#".spec.containers[name="a"].image"#);
        try_apply(POD, "two", image("y"), &mut pod, true).unwrap();
        assert_eq!(pod["spec"]["containers"][0]["image"], "y");
        let refused = try_apply(POD, "one", image("x"), &mut pod, false).unwrap_err();
        assert!(refused.causes[0].message.contains("\"two\""), "the field is the other's: {refused:?}");
    }

    #[test]
    fn who_writes_otherwise_owns_what_changed() {
        use super::super::managers::{Manager, record};
        let edit = Manager { name: "editor".into(), subresource: None };
        let mut policy = json!({ "metadata": {} });
        apply(NETWORK_POLICY, "one", json!({ "spec": { "ingress": [{}], "egress": [{}] } }), &mut policy);
        let before = policy.clone();
        policy["spec"]["ingress"] = json!([{ "ports": [{ "port": 80 }] }]);
        record(NETWORK_POLICY, &edit, Some(&before), &mut policy);
        let entries = policy["metadata"]["managedFields"].clone();
        assert_eq!(entries[0]["fieldsV1"], json!({ "f:spec": { "f:egress": {} } }));
        assert_eq!(entries[1]["fieldsV1"], json!({ "f:spec": { "f:ingress": {} } }));
        let back = json!({ "spec": { "ingress": [{}], "egress": [{}] } });
        assert_eq!(try_apply(NETWORK_POLICY, "one", back, &mut policy.clone(), false).unwrap_err().code, 409);
        policy["spec"].as_object_mut().unwrap().shift_remove("ingress");
        record(NETWORK_POLICY, &edit, Some(&before), &mut policy);
        assert_eq!(policy["metadata"]["managedFields"].as_array().unwrap().len(), 1, "what is gone has no manager");
    }

    #[test]
    fn what_a_manager_no_longer_names_goes() {
        let mut policy = json!({ "metadata": { "name": "p" } });
        let both =
            json!({ "spec": { "podSelector": { "matchLabels": { "a": "b" } }, "ingress": [{}], "egress": [{}] } });
        apply(NETWORK_POLICY, "one", both, &mut policy);
        apply(NETWORK_POLICY, "one", json!({ "spec": { "podSelector": {}, "ingress": [] } }), &mut policy);
        assert_eq!(policy["spec"], json!({ "podSelector": {}, "ingress": [] }));
        assert_eq!(policy["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_another_manager_applied_stays() {
        let mut pod = json!({ "metadata": { "labels": { "own": "x" } } });
        apply(POD, "one", json!({ "metadata": { "labels": { "a": "1", "b": "1" } } }), &mut pod);
        apply(POD, "two", json!({ "metadata": { "labels": { "b": "1" } } }), &mut pod);
        apply(POD, "one", json!({ "metadata": { "labels": { "c": "1" } } }), &mut pod);
        assert_eq!(pod["metadata"]["labels"], json!({ "own": "x", "b": "1", "c": "1" }));
    }

    #[test]
    fn items_of_keyed_lists_are_told_apart() {
        let env = |names: &[&str]| names.iter().map(|n| json!({ "name": n, "value": "v" })).collect::<Value>();
        let config = |names: &[&str]| json!({ "spec": { "containers": [{ "name": "a", "env": env(names) }] } });
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "a", "env": env(&["other"]) }] } });
        apply(POD, "one", config(&["x", "y"]), &mut pod);
        apply(POD, "one", config(&["y"]), &mut pod);
        assert_eq!(pod["spec"]["containers"][0]["env"], env(&["other", "y"]));
    }
}
