//! Who manages which fields: `metadata.managedFields`, and the conflicts of server-side apply.

use serde_json::{Value, json};

use super::fields::{changed, conflicts, fields_of, is_empty, prune, subtract, unite};
use crate::api::metadata::now;
use crate::api::resources::Kind;
use crate::api::status::{Cause, Status};

/// Who writes, other than by apply.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    /// `fieldManager`, or what the client's `User-Agent` begins with.
    pub(crate) name: String,
    /// The subresource that is written through.
    pub(crate) subresource: Option<String>,
}

/// What the server writes into metadata itself, and nobody manages.
const UNMANAGED: [&str; 12] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
    "clusterName",
];

/// The part of an object whose fields have managers.
pub(super) fn managed_part(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.retain(|key, _| key != "apiVersion" && key != "kind");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !UNMANAGED.contains(&key.as_str()));
        if metadata.is_empty() {
            object.as_object_mut().and_then(|map| map.shift_remove("metadata"));
        }
    }
    object
}

/// The entries of an object, which are taken out of it.
pub(super) fn take_entries(object: &mut Value) -> Vec<Value> {
    match object.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields")).map(Value::take) {
        // An entry without fields is how clients ask to forget them all.
        Some(Value::Array(entries)) => entries.into_iter().filter(|entry| !is_empty(&entry["fieldsV1"])).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn put_entries(object: &mut Value, entries: Vec<Value>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if entries.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(entries));
        }
    }
}

/// Writes down that `manager` has made `after` of `before`: what it changed is its own from here on.
pub(crate) fn record(kind: &'static Kind, manager: &Manager, before: Option<&Value>, after: &mut Value) {
    let mut entries = take_entries(after);
    let new = managed_part(after);
    let own = match before {
        Some(before) => changed(kind, &managed_part(before), &new),
        None => fields_of(kind, &new),
    };
    let is_own = |entry: &Value| {
        entry["manager"] == manager.name.as_str()
            && entry["operation"] == "Update"
            && entry["subresource"].as_str() == manager.subresource.as_deref()
    };
    for entry in &mut entries {
        prune(kind, &mut entry["fieldsV1"], &new);
        if !is_own(entry) {
            subtract(&mut entry["fieldsV1"], &own);
        }
    }
    if !is_empty(&own) {
        match entries.iter_mut().find(|entry| is_own(entry)) {
            Some(entry) => {
                unite(&mut entry["fieldsV1"], &own);
                entry["time"] = now().into();
            }
            None => {
                let mut entry = json!({
                    "manager": manager.name, "operation": "Update", "apiVersion": kind.api_version(), "time": now(),
                    "fieldsType": "FieldsV1", "fieldsV1": own,
                });
                if let Some(subresource) = &manager.subresource {
                    entry["subresource"] = subresource.as_str().into();
                }
                entries.push(entry);
            }
        }
    }
    entries.retain(|entry| !is_empty(&entry["fieldsV1"]));
    put_entries(after, entries);
}

/// Settles who owns what a configuration sets to another value than another manager did.
///
/// # Errors
/// 409 with a cause per field, unless `force` takes the fields away from the others.
pub(super) fn settle(
    kind: &'static Kind,
    own: &Value,
    config: &Value,
    live: &Value,
    others: &mut [&mut Value],
    force: bool,
) -> Result<(), Status> {
    let mut causes = Vec::new();
    for entry in others {
        let (paths, lost) = conflicts(kind, own, &entry["fieldsV1"], config, live);
        if force {
            subtract(&mut entry["fieldsV1"], &lost);
            continue;
        }
        let (manager, version) = (entry["manager"].as_str().unwrap_or_default(), &entry["apiVersion"]);
        let version = version.as_str().unwrap_or_default();
        let message = match entry["subresource"].as_str() {
            Some(subresource) => format!("conflict with {manager:?} with subresource {subresource:?} using {version}"),
            None => format!("conflict with {manager:?} using {version}"),
        };
        let cause = |field| Cause { reason: "FieldManagerConflict", field, message: message.clone() };
        causes.extend(paths.into_iter().map(cause));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::apply_conflict(causes)) }
}
