//! `--dry-run --filename FILE`: what manifests would come to on a node, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use netpol_nft::Ruleset;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compile::{Site, compile};
use crate::world::{Change, Delta, Namespace, Pod, Policy, World};

/// The ruleset of a site in a cluster that holds what is in these files: YAML or JSON, with any number of Namespaces, Pods and
/// NetworkPolicies or Lists of them, as `kubectl get -o yaml` prints them. Objects of other kinds are passed over.
///
/// # Errors
/// A file cannot be read, or an object in it is not one of its kind.
pub fn ruleset(files: &[PathBuf], site: &Site) -> anyhow::Result<Ruleset> {
    let mut world = World::default();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).with_context(|| format!("{} is not YAML", file.display()))?;
            add(&mut world, object, file)?;
        }
    }
    Ok(compile(&world, site))
}

fn add(world: &mut World, object: Value, file: &Path) -> anyhow::Result<()> {
    let kind = match (&object, object["kind"].as_str()) {
        (Value::Null, _) => return Ok(()),
        (_, Some(kind)) => kind.to_owned(),
        (_, None) => bail!("{}: there is an object without a kind", file.display()),
    };
    if let Some(items) = object["items"].as_array().filter(|_| kind.ends_with("List")) {
        return items.iter().try_for_each(|item| add(world, item.clone(), file));
    }
    let change = match kind.as_str() {
        "Namespace" => Change::Namespaces(Delta::Set(Namespace::read(&read(object, file)?))),
        "Pod" => Change::Pods(Delta::Set(Pod::read(&read(object, file)?))),
        "NetworkPolicy" => Change::Policies(Delta::Set(Policy::read_raw(&read(object, file)?))),
        _ => return Ok(()),
    };
    world.apply(change);
    Ok(())
}

fn read<T: DeserializeOwned>(mut object: Value, file: &Path) -> anyhow::Result<T> {
    let (kind, name) = (object["kind"].to_string(), object["metadata"]["name"].to_string());
    // As kubectl does with what names no namespace.
    if object["kind"] != "Namespace" && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = "default".into();
    }
    serde_json::from_value(object).with_context(|| format!("{}: {kind} {name} is not valid", file.display()))
}
