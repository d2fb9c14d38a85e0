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

/// What of `after` is not in `before`, or is there with another value.
pub(super) fn changed(kind: &'static Kind, before: &Value, after: &Value) -> Value {
    let mut set = Map::new();
    for (key, value) in after.as_object().into_iter().flatten() {
        let name = || format!("f:{key}");
        match (&before[key], value) {
            (old, value) if old == value => {}
            (Value::Object(_), Value::Object(map)) if !ATOMIC_MAPS.contains(&key.as_str()) && !map.is_empty() => {
                let below = changed(kind, &before[key], value);
                if !is_leaf(&below) {
                    set.insert(name(), below);
                }
            }
            (Value::Array(old), Value::Array(new)) if list_type(kind, key) != ListType::Atomic => {
                let below = changed_items(kind, key, old, new);
                if !below.is_empty() {
                    set.insert(name(), Value::Object(below));
                }
            }
            (_, value) => {
                let mut one = Map::new();
                one.insert(key.clone(), value.clone());
                set.insert(name(), fields_of(kind, &Value::Object(one))[name()].take());
            }
        }
    }
    Value::Object(set)
}

fn changed_items(kind: &'static Kind, field: &str, old: &[Value], new: &[Value]) -> Map<String, Value> {
    let mut set = Map::new();
    for item in new.iter().filter(|item| !old.contains(item)) {
        let Value::Object(mut whole) = list_fields(kind, field, std::slice::from_ref(item)) else { continue };
        let before = match list_type(kind, field) {
            ListType::Map(keys) => old.iter().find(|other| same_item(keys, other, item)),
            _ => None,
        };
        if let Some(before) = before {
            whole.values_mut().for_each(|below| *below = changed(kind, before, item));
            whole.retain(|_, below| !is_leaf(below));
        }
        set.append(&mut whole);
    }
    set
}

/// Removes from a set what is not in `object`.
pub(super) fn prune(kind: &'static Kind, set: &mut Value, object: &Value) {
    let Some(fields) = set.as_object_mut() else { return };
    fields.retain(|name, below| {
        let Some(field) = name.strip_prefix("f:") else { return true };
        match &object[field] {
            Value::Null => false,
            Value::Array(items) if !is_leaf(below) => {
                prune_items(kind, field, below, items);
                !is_leaf(below)
            }
            child if !is_leaf(below) => {
                prune(kind, below, child);
                !is_leaf(below)
            }
            _ => true,
        }
    });
}

fn prune_items(kind: &'static Kind, field: &str, set: &mut Value, items: &[Value]) {
    let Some(members) = set.as_object_mut() else { return };
    members.retain(|name, below| match (member(name), list_type(kind, field)) {
        (Some(Member::Item(key)), ListType::Map(keys)) => {
            let item = items.iter().find(|item| same_item(keys, item, &key));
            item.is_some_and(|item| {
                prune(kind, below, item);
                !is_leaf(below)
            })
        }
        (Some(Member::Value(value)), _) => items.contains(&value),
        _ => true,
    });
}

/// Removes from a set what is in another one.
pub(super) fn subtract(set: &mut Value, other: &Value) {
    let Some(fields) = set.as_object_mut() else { return };
    for (name, taken) in other.as_object().into_iter().flatten() {
        let Some(below) = fields.get_mut(name) else { continue };
        if is_leaf(taken) || is_leaf(below) {
            fields.shift_remove(name);
            continue;
        }
        subtract(below, taken);
        // What is left of an item may be only that it exists.
        if is_leaf(below) {
            fields.shift_remove(name);
        }
    }
}

/// Adds to a set what is in another one.
pub(super) fn unite(set: &mut Value, other: &Value) {
    let Some(fields) = set.as_object_mut() else { return };
    for (name, more) in other.as_object().into_iter().flatten() {
        match fields.get_mut(name) {
            Some(below) => unite(below, more),
            None => drop(fields.insert(name.clone(), more.clone())),
        }
    }
}

/// Whether a set has no fields.
pub(super) fn is_empty(set: &Value) -> bool {
    set.as_object().is_none_or(Map::is_empty)
}

/// The fields that two managers set to different values: as paths for people, and as a set.
pub(super) fn conflicts(
    kind: &'static Kind,
    own: &Value,
    theirs: &Value,
    config: &Value,
    live: &Value,
) -> (Vec<String>, Value) {
    let mut paths = Vec::new();
    let lost = conflicts_below(kind, (own, theirs), (config, live), "", &mut paths);
    (paths, Value::Object(lost))
}

fn conflicts_below(
    kind: &'static Kind,
    (own, theirs): (&Value, &Value),
    (config, live): (&Value, &Value),
    path: &str,
    paths: &mut Vec<String>,
) -> Map<String, Value> {
    let mut lost = Map::new();
    for (name, below) in own.as_object().into_iter().flatten() {
        let (Some(their), Some(field)) = (theirs.get(name), name.strip_prefix("f:")) else { continue };
        let (wanted, present, path) = (&config[field], &live[field], format!("{path}.{field}"));
        if wanted == present {
            continue;
        }
        let mut inner = Map::new();
        if is_leaf(below) || is_leaf(their) {
            paths.push(path);
        } else if let ListType::Map(keys) = list_type(kind, field) {
            for (item, fields) in below.as_object().into_iter().flatten() {
                let (Some(their), Some(Member::Item(key))) = (their.get(item), member(item)) else { continue };
                let find =
                    |list: &Value| list.as_array().and_then(|l| l.iter().find(|i| same_item(keys, i, &key)).cloned());
                let (Some(wanted), Some(present)) = (find(wanted), find(present)) else { continue };
                let shown: Vec<String> =
                    key.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
                let path = format!("{path}[{}]", shown.join(","));
                let deeper = conflicts_below(kind, (fields, their), (&wanted, &present), &path, paths);
                if !deeper.is_empty() {
                    inner.insert(item.clone(), Value::Object(deeper));
                }
            }
            if inner.is_empty() {
                continue;
            }
        } else {
            inner = conflicts_below(kind, (below, their), (wanted, present), &path, paths);
            if inner.is_empty() {
                continue;
            }
        }
        lost.insert(name.clone(), Value::Object(inner));
    }
    lost
}

/// A member of a list, as a set names it.
enum Member {
    Item(Value),
    Value(Value),
}

fn member(name: &str) -> Option<Member> {
    let parsed = |text: &str| serde_json::from_str(text).ok();
    match name.split_once(':')? {
        ("k", text) => parsed(text).map(Member::Item),
        ("v", text) => parsed(text).map(Member::Value),
        _ => None,
    }
}

fn is_leaf(set: &Value) -> bool {
    set.as_object().is_some_and(Map::is_empty)
}
