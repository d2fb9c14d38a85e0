//! Which lists of our kinds are merged item by item, and by what key. All others are replaced as a whole, those of
//! NetworkPolicy among them.

use serde_json::Value;

use crate::api::resources::Kind;

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Items are objects, told apart by these fields: the first is strategic merge's, all of them are apply's.
    Map(&'static [&'static str]),
    /// Items are plain values; a merge is their union.
    Set,
}

/// The type of the list `field` of a kind's objects.
pub(super) fn list_type(kind: &'static Kind, field: &str) -> ListType {
    use ListType::{Atomic, Map, Set};
    match (kind.kind, field) {
        (_, "ownerReferences") => Map(&["uid"]),
        (_, "finalizers") if kind.kind != "Namespace" => Set,
        ("NetworkPolicy", _) => Atomic,
        (_, "conditions") => Map(&["type"]),
        ("Pod", "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "imagePullSecrets" | "env") => {
            Map(&["name"])
        }
        ("Pod", "ports") => Map(&["containerPort", "protocol"]),
        ("Pod", "volumeMounts") => Map(&["mountPath"]),
        ("Pod", "volumeDevices") => Map(&["devicePath"]),
        ("Pod", "hostAliases" | "podIPs" | "hostIPs") => Map(&["ip"]),
        ("Pod", "topologySpreadConstraints") => Map(&["topologyKey", "whenUnsatisfiable"]),
        ("Service", "ports") => Map(&["port", "protocol"]),
        ("Node", "addresses") => Map(&["type"]),
        ("Node", "podCIDRs") => Set,
        ("ServiceAccount", "secrets" | "imagePullSecrets") => Map(&["name"]),
        _ => Atomic,
    }
}

/// Whether two items of a keyed list are the same one. A key that is absent on either side is at its default
/// (`protocol: TCP`) and tells nothing apart.
pub(super) fn same_item(keys: &[&str], a: &Value, b: &Value) -> bool {
    a[keys[0]] == b[keys[0]]
        && !a[keys[0]].is_null()
        && keys[1..].iter().all(|key| {
            let default = |value: &Value| if value.is_null() { Value::from("TCP") } else { value.clone() };
            if *key == "protocol" { default(&a[*key]) == default(&b[*key]) } else { a[*key] == b[*key] }
        })
}
