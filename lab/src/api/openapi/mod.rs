//! `/openapi/v3`: what kubectl needs to know that the server validates fields itself and takes dry runs, and the schemas
//! of the kinds, by which `kubectl explain` explains. `kubectl apply` uses what it knows of the types.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::resources::{Kind, served};

/// Every schema by name, with the first sentence of each description: made by `lab/openapi` from the types.
const SCHEMAS: &str = include_str!("schemas.json");
/// Where schemas refer to each other.
const COMPONENTS: &str = "#/components/schemas/";

fn group_versions() -> Vec<(String, Vec<&'static Kind>)> {
    let mut list: Vec<(String, Vec<&'static Kind>)> = Vec::new();
    for kind in served() {
        let path = kind.prefix().trim_start_matches('/').to_owned();
        match list.iter_mut().find(|(known, _)| *known == path) {
            Some((_, kinds)) => kinds.push(kind),
            None => list.push((path, vec![kind])),
        }
    }
    list
}

/// The list of documents.
pub(crate) fn index() -> Value {
    let mut paths = Map::new();
    for (path, _) in group_versions() {
        // The hash lets clients cache; the documents change with the program only.
        let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The document of a group's version, such as `apis/networking.k8s.io/v1`.
pub(crate) fn document(path: &str) -> Option<Value> {
    let (_, kinds) = group_versions().into_iter().find(|(known, _)| known == path)?;
    let schemas = schemas(&kinds);
    let mut paths = Map::new();
    for kind in kinds {
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{}{scope}/{}", kind.prefix(), kind.plural);
        paths.insert(
            collection.clone(),
            json!({
                "get": operation(kind, "list", &[]),
                "post": operation(kind, "post", &WRITE_PARAMETERS),
            }),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": operation(kind, "get", &[]),
                "put": operation(kind, "put", &WRITE_PARAMETERS),
                "patch": operation(kind, "patch", &WRITE_PARAMETERS),
                "delete": operation(kind, "delete", &["dryRun"]),
            }),
        );
    }
    let info = json!({ "title": "netpol lab", "version": env!("CARGO_PKG_VERSION") });
    Some(json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": schemas } }))
}

const WRITE_PARAMETERS: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];

fn operation(kind: &'static Kind, action: &str, parameters: &[&str]) -> Value {
    let parameter = |name: &&str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
    json!({
        "operationId": format!("{action}{}{}", kind.version, kind.kind),
        "parameters": parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": { "200": { "description": "OK" } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
    })
}

/// The schemas of these kinds, and all that they refer to.
fn schemas(kinds: &[&'static Kind]) -> Map<String, Value> {
    let all: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let mut wanted: Vec<String> = kinds.iter().map(|kind| schema_name(kind)).collect();
    let mut found = Map::new();
    while let Some(name) = wanted.pop() {
        if let Some(schema) = all.get(&name).filter(|_| !found.contains_key(&name)) {
            wanted.extend(references(schema));
            found.insert(name, schema.clone());
        }
    }
    for kind in kinds {
        if let Some(schema) = found.get_mut(&schema_name(kind)) {
            schema["x-kubernetes-group-version-kind"] =
                json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]);
        }
    }
    found.sort_keys();
    found
}

/// As Kubernetes calls it, such as `io.k8s.api.networking.v1.NetworkPolicy`.
fn schema_name(kind: &Kind) -> String {
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("io.k8s.api.{group}.{}.{}", kind.version, kind.kind)
}

fn references(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(COMPONENTS));
            own.map(str::to_owned).into_iter().chain(map.values().flat_map(references)).collect()
        }
        Value::Array(list) => list.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode::{Strictness, typed};

    /// An object with every field that the schema knows, each with a value of its type.
    fn sample(schema: &Value, all: &Map<String, Value>, depth: usize) -> Value {
        let referred = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        if let Some(name) = referred.and_then(|to| to.strip_prefix(COMPONENTS)) {
            // JSONSchemaProps and the like contain themselves.
            return if depth > 12 { Value::Null } else { sample(&all[name], all, depth + 1) };
        }
        match schema["type"].as_str() {
            Some("object") if schema["properties"].is_object() => {
                let fields = schema["properties"].as_object().into_iter().flatten();
                fields.map(|(name, field)| (name.clone(), sample(field, all, depth))).collect()
            }
            Some("object") if schema["additionalProperties"].is_object() => {
                json!({ "key": sample(&schema["additionalProperties"], all, depth) })
            }
            Some("object") => json!({}),
            Some("array") => json!([sample(&schema["items"], all, depth)]),
            Some("integer") => json!(1),
            Some("number") => json!(1.5),
            Some("boolean") => json!(true),
            // Also good as a time, with or without fractions.
            _ => json!("2000-01-01T00:00:00.000000Z"),
        }
    }

    #[test]
    fn every_schema_describes_the_type_that_objects_are_read_as() {
        for kind in served().filter(|kind| kind.kind != "Secret" && kind.kind != "ConfigMap") {
            let schemas = schemas(&[kind]);
            let mut object = sample(&schemas[&schema_name(kind)], &schemas, 0);
            object["apiVersion"] = kind.api_version().into();
            object["kind"] = kind.kind.into();
            let read = typed(kind, object, Strictness::Strict);
            assert!(read.is_ok(), "{}: {:?}", kind.kind, read.err().map(|status| status.message));
        }
    }

    #[test]
    fn every_kind_has_a_document_whose_references_lead_somewhere() {
        for kind in served() {
            let document = document(kind.prefix().trim_start_matches('/')).expect("a document");
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            assert!(schemas.contains_key(&schema_name(kind)), "{}", kind.kind);
            for name in schemas.values().flat_map(references) {
                assert!(schemas.contains_key(&name), "{name}");
            }
        }
    }
}
