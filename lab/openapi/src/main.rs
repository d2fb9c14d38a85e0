//! Prints the schemas of the kinds that the lab serves, from the types that it decodes them with: one JSON object, by
//! name, with the first sentence of each description.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event as EventsEvent;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// What nobody needs who explains a field, or what every field has.
const LEFT_OUT: [&str; 4] = ["default", "format", "nullable", "title"];

fn main() {
    let mut generator = SchemaSettings::openapi3().into_generator();
    macro_rules! kinds {
        ($($kind:ty),+) => { $( drop(generator.subschema_for::<$kind>()); )+ };
    }
    kinds!(
        ClusterRole, ClusterRoleBinding, ConfigMap, DaemonSet, EndpointSlice, Event, EventsEvent, Lease, Namespace,
        NetworkPolicy, Node, Pod, Role, RoleBinding, Secret, Service, ServiceAccount
    );
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    schemas.values_mut().for_each(trim);
    // A line each, so that a change of one is a line of a difference.
    let lines: Vec<String> = schemas.iter().map(|(name, schema)| format!("{}:{schema}", Value::from(name.as_str()))).collect();
    println!("{{{}}}", lines.join(",\n"));
}

fn trim(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // Where a name is a field's and not a keyword of schemas, its value is an object.
            map.retain(|key, value| value.is_object() || !LEFT_OUT.contains(&key.as_str()));
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = first_sentence(text);
            }
            map.values_mut().for_each(trim);
        }
        Value::Array(list) => list.iter_mut().for_each(trim),
        _ => {}
    }
}

fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let end = paragraph.find(". ").map_or(paragraph.len(), |end| end + 1);
    paragraph[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}
