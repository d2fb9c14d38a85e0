//! Strategic merge: a merge patch in which keyed lists are merged item by item. Directives: `$patch` (replace, delete,
//! merge), `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`. Others are refused by name.

use serde_json::{Map, Value};

use super::lists::{ListType, list_type, same_item};
use crate::api::resources::Kind;
use crate::api::status::Status;

/// Merges `patch` into `target`.
///
/// # Errors
/// 400 for a directive that is unknown or malformed.
pub(super) fn merge(kind: &'static Kind, target: &mut Value, patch: &Value) -> Result<(), Status> {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        Some("replace") => {
            let kept = patch.iter().filter(|(key, _)| *key != "$patch");
            *target = Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect());
            return Ok(());
        }
        Some(other) => {
            return Err(Status::bad_request(format!("the strategic merge directive $patch: {other} is unknown")));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return Ok(()) };
    if let Some(retained) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Array(items) => {
                let present = target.entry(key.clone()).or_insert(Value::Null);
                merge_list(kind, key, present, items)?;
            }
            Value::Object(_) => {
                let present = target.entry(key.clone()).or_insert(Value::Null);
                merge(kind, present, value)?;
                if present.is_null() {
                    target.shift_remove(key);
                }
            }
            plain => {
                target.insert(key.clone(), plain.clone());
            }
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| key.starts_with('$')) {
        directive(kind, target, key, value)?;
    }
    Ok(())
}

fn merge_list(kind: &'static Kind, field: &str, present: &mut Value, items: &[Value]) -> Result<(), Status> {
    let list = list_type(kind, field);
    let replaces = items.iter().any(|item| item["$patch"] == "replace");
    if list == ListType::Atomic || replaces {
        let kept = items.iter().filter(|item| item["$patch"] != "replace");
        *present = Value::Array(kept.cloned().collect());
        return Ok(());
    }
    if !present.is_array() {
        *present = Value::Array(Vec::new());
    }
    let Some(present) = present.as_array_mut() else { return Ok(()) };
    for item in items {
        let ListType::Map(keys) = list else {
            if !present.contains(item) {
                present.push(item.clone());
            }
            continue;
        };
        // Strategic merge knows one key only.
        let keys = &keys[..1];
        if item[keys[0]].is_null() {
            let message = format!("an item of {field} in the patch lacks its merge key {}", keys[0]);
            return Err(Status::bad_request(message));
        }
        if item["$patch"] == "delete" {
            present.retain(|other| !same_item(keys, other, item));
            continue;
        }
        match present.iter_mut().find(|other| same_item(keys, other, item)) {
            Some(other) => merge(kind, other, item)?,
            None => {
                let mut fresh = Value::Null;
                merge(kind, &mut fresh, item)?;
                present.push(fresh);
            }
        }
    }
    Ok(())
}

fn directive(kind: &'static Kind, target: &mut Map<String, Value>, key: &str, value: &Value) -> Result<(), Status> {
    let unknown = || Status::bad_request(format!("the strategic merge directive {key} is unknown or malformed"));
    if matches!(key, "$patch" | "$retainKeys") {
        return Ok(());
    }
    let (name, field) = key.split_once('/').ok_or_else(unknown)?;
    let items = value.as_array().ok_or_else(unknown)?;
    let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) else { return Ok(()) };
    match name {
        "$deleteFromPrimitiveList" => list.retain(|item| !items.contains(item)),
        "$setElementOrder" => {
            let place = |item: &Value| {
                let is_same = |other: &Value| match list_type(kind, field) {
                    ListType::Map(keys) => same_item(&keys[..1], other, item),
                    _ => other == item,
                };
                items.iter().position(is_same).unwrap_or(items.len())
            };
            list.sort_by_key(place);
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resources::{NETWORK_POLICY, POD};
    use serde_json::json;

    fn merged(kind: &'static Kind, mut target: Value, patch: Value) -> Value {
        merge(kind, &mut target, &patch).unwrap();
        target
    }

    #[test]
    fn containers_are_merged_by_name() {
        let pod = json!({ "spec": { "containers": [{ "name": "a", "image": "x" }, { "name": "b", "image": "y" }] } });
        let patch = json!({ "spec": {
            "$setElementOrder/containers": [{ "name": "b" }, { "name": "c" }],
            "containers": [{ "name": "b", "image": "z" }, { "name": "a", "$patch": "delete" }, { "name": "c" }],
        } });
        let expected = json!({ "spec": { "containers": [{ "name": "b", "image": "z" }, { "name": "c" }] } });
        assert_eq!(merged(POD, pod, patch), expected);
    }

    #[test]
    fn lists_of_policies_are_replaced() {
        let policy =
            json!({ "spec": { "ingress": [{ "from": [{ "podSelector": {} }] }], "policyTypes": ["Ingress"] } });
        let patch = json!({ "spec": { "ingress": [{}], "policyTypes": null } });
        assert_eq!(merged(NETWORK_POLICY, policy, patch), json!({ "spec": { "ingress": [{}] } }));
    }

    #[test]
    fn directives_work_or_are_refused() {
        let pod = json!({ "metadata": { "finalizers": ["a", "b"] }, "spec": { "x": 1, "y": 2 } });
        let patch = json!({
            "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"] },
            "spec": { "$patch": "replace", "z": 3 },
        });
        let expected = json!({ "metadata": { "finalizers": ["b", "c"] }, "spec": { "z": 3 } });
        assert_eq!(merged(POD, pod, patch), expected);
        assert_eq!(merge(POD, &mut json!({}), &json!({ "$dance": [] })).unwrap_err().code, 400);
    }
}
