//! `/openapi/v3`: as much as kubectl needs to know that the server validates fields itself and takes dry runs. There
//! are no schemas: `kubectl explain` has nothing to explain here, and `kubectl apply` uses what it knows of the types.

use serde_json::{Map, Value, json};

use super::resources::{Kind, served};

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
    Some(json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": {} } }))
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
