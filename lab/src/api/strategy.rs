//! What happens to an object of a kind before it is stored: defaults, empty lists dropped, rules checked.

use serde_json::Value;

use super::resources::{DAEMON_SET, ENDPOINT_SLICE, Kind, NETWORK_POLICY, POD};
use super::status::{Cause, Status};
use super::{defaults, metadata, validate};

/// Whether `metadata.generation` is kept for the kind (the real server does so for kinds with a spec of their own).
pub(crate) fn counts_generations(kind: &'static Kind) -> bool {
    [POD, NETWORK_POLICY, DAEMON_SET, ENDPOINT_SLICE].contains(&kind)
}

/// Whether what a generation counts has changed: all but metadata and status.
pub(crate) fn is_new_generation(present: &Value, next: &Value) -> bool {
    let counted = |object: &Value| {
        let mut object = object.clone();
        object["metadata"].take();
        object["status"].take();
        object
    };
    present["spec"] != next["spec"] || (present["spec"].is_null() && counted(present) != counted(next))
}

/// Defaults and canonical form.
pub(crate) fn prepare(kind: &'static Kind, object: &mut Value) {
    defaults::fill(kind, object);
    drop_empty(object);
}

/// All rules of the kind.
///
/// # Errors
/// 422 with every cause.
pub(crate) fn check(kind: &'static Kind, object: &Value) -> Result<(), Status> {
    let mut causes: Vec<Cause> = metadata::validate(kind, object);
    causes.extend(validate::object(kind, object));
    refuse(kind, object, causes)
}

/// The rules about what may change.
///
/// # Errors
/// 422 with every cause.
pub(crate) fn check_update(kind: &'static Kind, present: &Value, next: &Value) -> Result<(), Status> {
    check(kind, next)?;
    refuse(kind, next, validate::update(kind, present, next))
}

fn refuse(kind: &'static Kind, object: &Value, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind, object["metadata"]["name"].as_str().unwrap_or_default(), causes))
}

/// Maps that mean the same when empty and when absent. Other empty objects (`podSelector: {}`, a rule `{}`) do not.
const MAPS: [&str; 9] =
    ["labels", "annotations", "matchLabels", "nodeSelector", "data", "stringData", "limits", "requests", "selector"];

/// Drops nulls and empty lists, as a server does whose storage is protobuf: there an empty list is no list.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for child in map.values_mut() {
                drop_empty(child);
            }
            map.retain(|key, child| match child {
                Value::Null => false,
                Value::Array(list) => !list.is_empty(),
                Value::Object(inner) => !(inner.is_empty() && MAPS.contains(&key.as_str())),
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_lists_go_and_empty_rules_stay() {
        let mut policy = json!({ "metadata": { "labels": {} }, "spec": {
            "podSelector": {}, "egress": [], "ingress": [{ "from": [], "ports": null }, {}],
        } });
        drop_empty(&mut policy);
        assert_eq!(policy, json!({ "metadata": {}, "spec": { "podSelector": {}, "ingress": [{}, {}] } }));
    }
}
