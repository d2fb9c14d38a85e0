//! Manifests: read, patched as the CNI's entry says, applied.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, oneshot};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::Instant;

use super::IpFamily;
use super::cni_entry::{self, CniEntry, ObjectName};
use crate::waits;

/// The image's name in our own manifests; the real one takes its place.
const IMAGE: &str = "netpol";

/// Why a manifest could not be applied.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is no YAML.
    #[error("the manifest cannot be read: {0}")]
    NotYaml(#[from] serde_yaml::Error),
    /// A patch of the entry meets nothing.
    #[error("the entry's patch of {object} does not fit this manifest: {what}")]
    Patch {
        /// The object.
        object: String,
        /// What is missing.
        what: String,
    },
    /// The API server did not take an object.
    #[error("{object} was not applied: {cause}")]
    Apply {
        /// The object.
        object: String,
        /// The server's words.
        cause: Box<kube::Error>,
    },
}

/// The objects of a manifest, in order.
///
/// # Errors
/// [`ManifestError::NotYaml`]
pub fn objects(text: &str) -> Result<Vec<Value>, ManifestError> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        match value.get("items").and_then(Value::as_array) {
            Some(items) => all.extend(items.iter().cloned()),
            None if value.is_object() => all.push(value),
            None => {}
        }
    }
    Ok(all)
}

/// Changes the objects as the entry says for clusters of this family.
///
/// # Errors
/// [`ManifestError::Patch`]: a patch without effect would be a cluster of another kind than the entry describes.
pub fn patch(objects: &mut [Value], entry: &CniEntry, family: IpFamily) -> Result<(), ManifestError> {
    let subnet = &entry.cluster.pod_subnet;
    let filled = |text: &str| {
        text.replace("${pod-subnet4}", &subnet.ipv4.to_string()).replace("${pod-subnet6}", &subnet.ipv6.to_string())
    };
    let wanted = |patch: &&cni_entry::Patch| patch.ip_families.is_empty() || patch.ip_families.contains(&family);
    for patch in entry.install.patches.iter().filter(wanted) {
        let ObjectName { kind, name, .. } = &patch.object;
        let misses = |what: String| ManifestError::Patch { object: format!("{kind} {name}"), what };
        let object = objects.iter_mut().find(|object| is(object, &patch.object));
        let object = object.ok_or_else(|| misses("there is no such object".into()))?;
        for (container, variables) in &patch.env {
            let containers = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
            let found = containers.into_iter().flatten().find(|found| found["name"] == container.as_str());
            let found = found.ok_or_else(|| misses(format!("it has no container {container}")))?;
            variables.iter().for_each(|(variable, value)| set_variable(found, variable, &filled(value)));
        }
        for replace in &patch.replace {
            let text = object.pointer_mut(&replace.at);
            let text = text.ok_or_else(|| misses(format!("it has nothing at {}", replace.at)))?;
            let old = text.as_str().unwrap_or_default();
            if !old.contains(&replace.from) {
                return Err(misses(format!("'{}' does not stand at {}", replace.from, replace.at)));
            }
            *text = json!(old.replace(&replace.from, &filled(&replace.to)));
        }
    }
    Ok(())
}

fn is(object: &Value, name: &ObjectName) -> bool {
    object["kind"] == name.kind.as_str()
        && object["metadata"]["name"] == name.name.as_str()
        && object["metadata"]["namespace"].as_str() == name.namespace.as_deref()
}

fn set_variable(container: &mut Value, variable: &str, value: &str) {
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(env) = container["env"].as_array_mut() else { return };
    let entry = json!({"name": variable, "value": value});
    match env.iter_mut().find(|entry| entry["name"] == variable) {
        Some(present) => *present = entry,
        None => env.push(entry),
    }
}

/// Puts the real image into our own manifests.
pub fn set_image(objects: &mut [Value], image: &str) {
    for object in objects {
        for list in ["containers", "initContainers"] {
            let containers = object.pointer_mut(&format!("/spec/template/spec/{list}")).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter(|container| container["image"] == IMAGE) {
                container["image"] = json!(image);
            }
        }
    }
}

/// The objects as one text, for a file that `kubectl apply` takes.
///
/// # Errors
/// [`ManifestError::NotYaml`]
pub fn text(objects: &[Value]) -> Result<String, ManifestError> {
    let documents: Result<Vec<_>, _> = objects.iter().map(serde_yaml::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// Applies the objects: namespaces and kinds first, then the rest in its order. A server that has only just come up is given
/// [`waits::OBJECT_APPLIES`] for each.
///
/// # Errors
/// [`ManifestError::Apply`]
pub async fn apply(client: &Client, objects: &[Value]) -> Result<(), ManifestError> {
    let mut ordered: Vec<&Value> = objects.iter().collect();
    ordered.sort_by_key(|object| match object["kind"].as_str() {
        Some("Namespace") => 0,
        Some("CustomResourceDefinition") => 1,
        _ => 2,
    });
    let mut kinds = BTreeMap::new();
    for object in ordered {
        let start = Instant::now();
        while let Err(cause) = apply_one(client, object, &mut kinds).await {
            if !may_pass(&cause) || start.elapsed() > waits::OBJECT_APPLIES.limit {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let object = format!("{} {name}", object["kind"].as_str().unwrap_or("an object without kind"));
                return Err(ManifestError::Apply { object, cause: Box::new(cause) });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    Ok(())
}

/// By apiVersion and kind: what discovery said.
type Kinds = BTreeMap<(String, String), (ApiResource, ApiCapabilities)>;

async fn apply_one(client: &Client, object: &Value, kinds: &mut Kinds) -> Result<(), kube::Error> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let key = (text("/apiVersion").to_owned(), text("/kind").to_owned());
    if !kinds.contains_key(&key) {
        let (group, version) = key.0.split_once('/').unwrap_or(("", &key.0));
        let found = oneshot::pinned_kind(client, &GroupVersionKind::gvk(group, version, &key.1)).await?;
        kinds.insert(key.clone(), found);
    }
    let Some((resource, capabilities)) = kinds.get(&key) else { return Ok(()) };
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, resource),
    };
    let params = PatchParams::apply("netpol").force();
    api.patch(text("/metadata/name"), &params, &Patch::Apply(object)).await.map(drop)
}

/// Whether the same request may succeed a moment later: kinds that are not served yet, a server that is busy or not up.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 403 | 404 | 409 | 429) || status.code >= 500,
        _ => true,
    }
}
