//! Sets of fields as `metadata.managedFields` writes them (FieldsV1): `f:name` for a field, `k:{…}` for an item of a
//! keyed list, `v:…` for a member of a set. A leaf is an empty object.

use serde_json::{Map, Value, json};

use super::lists::{ListType, list_type, same_item};
use crate::api::resources::Kind;

/// Maps that apply replaces as a whole (`x-kubernetes-map-type: atomic`).
pub(super) const ATOMIC_MAPS: [&str; 7] =
    ["podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "selector", "fieldRef", "resourceFieldRef"];

/// The fields that a configuration sets.
pub(super) fn fields_of(kind: &'static Kind, config: &Value) -> Value {
    let mut set = Map::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        let below = match value {
            Value::Object(map) if !ATOMIC_MAPS.contains(&key.as_str()) && !map.is_empty() => fields_of(kind, value),
            Value::Array(items) => list_fields(kind, key, items),
            _ => json!({}),
        };
        set.insert(format!("f:{key}"), below);
    }
    Value::Object(set)
}

fn list_fields(kind: &'static Kind, field: &str, items: &[Value]) -> Value {
    let mut set = Map::new();
    match list_type(kind, field) {
        ListType::Atomic => {}
        ListType::Set => set.extend(items.iter().map(|item| (format!("v:{item}"), json!({})))),
        ListType::Map(keys) => {
            for item in items {
                let present = keys.iter().filter(|key| !item[**key].is_null());
                let key: Map<_, _> = present.map(|key| ((*key).to_owned(), item[*key].clone())).collect();
                let mut below = fields_of(kind, item);
                below["."] = json!({});
                set.insert(format!("k:{}", Value::Object(key)), below);
            }
        }
    }
    Value::Object(set)
}

/// Removes from `target` what is in `old` and in none of the sets `kept`.
pub(super) fn remove_dropped(kind: &'static Kind, target: &mut Value, old: &Value, kept: &[&Value]) {
    for (name, below) in old.as_object().into_iter().flatten() {
        let Some(field) = name.strip_prefix("f:") else { continue };
        let still: Vec<&Value> = kept.iter().filter_map(|set| set.get(name)).collect();
        let Some(map) = target.as_object_mut() else { return };
        if still.is_empty() && is_leaf(below) {
            map.shift_remove(field);
            continue;
        }
        match map.get_mut(field) {
            Some(Value::Array(items)) => remove_items(kind, field, items, below, &still),
            Some(child @ Value::Object(_)) => {
                remove_dropped(kind, child, below, &still);
                if still.is_empty() && child.as_object().is_some_and(Map::is_empty) {
                    map.shift_remove(field);
                }
            }
            _ => {}
        }
    }
}

fn remove_items(kind: &'static Kind, field: &str, items: &mut Vec<Value>, old: &Value, kept: &[&Value]) {
    for (name, below) in old.as_object().into_iter().flatten() {
        let still: Vec<&Value> = kept.iter().filter_map(|set| set.get(name)).collect();
        let parsed = |prefix: &str| name.strip_prefix(prefix).and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(member) = parsed("v:")
            && still.is_empty()
        {
            items.retain(|item| *item != member);
        }
        if let (Some(key), ListType::Map(keys)) = (parsed("k:"), list_type(kind, field)) {
            if still.is_empty() {
                items.retain(|item| !same_item(keys, item, &key));
            } else if let Some(item) = items.iter_mut().find(|item| same_item(keys, item, &key)) {
                remove_dropped(kind, item, below, &still);
            }
        }
    }
}

fn is_leaf(set: &Value) -> bool {
    set.as_object().is_some_and(Map::is_empty)
}
