//! Kinds that are another form of stored objects: events.k8s.io/v1 Event has the fields of v1 Event under other names.

use std::sync::Arc;

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::object::Object;
use super::resources::Kind;

/// Fields of v1 Event, and what events.k8s.io/v1 calls them.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// The object as bytes of JSON, in the form of the kind that was asked for.
pub(crate) fn json(kind: &'static Kind, object: &Arc<Object>) -> Bytes {
    match kind.stored_as {
        None => object.json(),
        Some(_) => served(kind, object.value().clone()).to_string().into(),
    }
}

/// PartialObjectMetadata of an object.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// A stored object in the form of `kind`.
pub(crate) fn served(kind: &'static Kind, stored: Value) -> Value {
    renamed(kind, stored, kind, |(stored, served)| (stored, served))
}

/// An object of `kind` in the form in which it is stored.
pub(crate) fn stored(kind: &'static Kind, served: Value) -> Value {
    renamed(kind, served, kind.stored(), |(stored, served)| (served, stored))
}

/// What a field selector of `kind` calls a field, in the form in which it is stored.
pub(crate) fn stored_field(kind: &'static Kind, field: &str) -> String {
    let (head, tail) = field.split_once('.').map_or((field, None), |(head, tail)| (head, Some(tail)));
    let renamed = EVENT_FIELDS.iter().find(|(_, served)| kind.stored_as.is_some() && *served == head);
    let head = renamed.map_or(head, |(stored, _)| stored);
    tail.map_or_else(|| head.to_owned(), |tail| format!("{head}.{tail}"))
}

type Names = (&'static str, &'static str);

fn renamed(kind: &'static Kind, object: Value, into: &'static Kind, direction: impl Fn(Names) -> Names) -> Value {
    let Value::Object(map) = object else { return object };
    if kind.stored_as.is_none() {
        return Value::Object(map);
    }
    let new_name = |key: String| {
        let known = EVENT_FIELDS.into_iter().map(&direction).find(|(old, _)| *old == key);
        known.map_or(key, |(_, new)| new.to_owned())
    };
    let mut map: Map<String, Value> = map.into_iter().map(|(key, value)| (new_name(key), value)).collect();
    map.insert("apiVersion".into(), into.api_version().into());
    map.insert("kind".into(), into.kind.into());
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resources::{EVENTS_EVENT, POD};

    #[test]
    fn events_come_back_as_they_went_in() {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "a" }, "note": "hello",
            "regarding": { "kind": "Pod" }, "reportingController": "enforcer", "series": { "count": 2 },
        });
        let kept = stored(EVENTS_EVENT, event.clone());
        assert_eq!((&kept["apiVersion"], &kept["message"]), (&json!("v1"), &json!("hello")));
        assert_eq!(kept["involvedObject"]["kind"], "Pod");
        assert_eq!(served(EVENTS_EVENT, kept), event);
        assert_eq!(stored_field(EVENTS_EVENT, "regarding.name"), "involvedObject.name");
        assert_eq!(stored_field(POD, "spec.nodeName"), "spec.nodeName");
    }
}
