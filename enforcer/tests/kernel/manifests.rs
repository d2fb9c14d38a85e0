//! Reads a world from manifests, as `kubectl get -o yaml` prints them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_enforcer::compile::{OwnNode, Site};
use netpol_enforcer::world::{Change, Delta, Namespace, ObjectKey, Pod, Policy, World};
use netpol_nft::{Element, Rule, Ruleset};
use serde::Deserialize;

/// The world that a file of YAML documents describes.
pub(crate) fn world(yaml: &str) -> World {
    let mut world = World::default();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let object = serde_yaml::Value::deserialize(document).expect("a document of YAML");
        world.apply(change(object));
    }
    world
}

fn change(object: serde_yaml::Value) -> Change {
    match object.get("kind").and_then(|kind| kind.as_str()) {
        Some("Namespace") => Change::Namespaces(Delta::Set(Namespace::read(
            &serde_yaml::from_value::<ApiNamespace>(object).expect("an object of this kind"),
        ))),
        Some("Pod") => Change::Pods(Delta::Set(Pod::read(
            &serde_yaml::from_value::<ApiPod>(object).expect("an object of this kind"),
        ))),
        Some("NetworkPolicy") => Change::Policies(Delta::Set(Policy::read(
            &serde_yaml::from_value::<NetworkPolicy>(object).expect("an object of this kind"),
        ))),
        other => panic!("{other:?} is no kind of a world"),
    }
}

/// The world without some policies of a namespace.
pub(crate) fn without(mut world: World, namespace: &str, policies: &[&str]) -> World {
    for name in policies {
        let removed = world.policies.remove(&ObjectKey::new(namespace, *name));
        assert!(removed.is_some(), "there is no policy {namespace}/{name}");
    }
    world
}

/// A ruleset in which the order of elements and the notes on sets do not matter.
pub(crate) type Comparable = (BTreeMap<String, BTreeSet<Element>>, BTreeMap<String, Vec<Rule>>);

pub(crate) fn comparable(ruleset: &Ruleset) -> Comparable {
    let sets = ruleset.sets.iter().map(|(name, (_, elements))| (name.clone(), elements.iter().cloned().collect()));
    (sets.collect(), ruleset.chains.iter().map(|(name, (_, rules))| (name.clone(), rules.clone())).collect())
}

/// A node with one uplink.
pub(crate) fn site(node: &str) -> Site {
    let uplinks = ["eth0", "lo"].map(str::to_owned).into();
    Site { node: node.to_owned(), uplinks, own_node: OwnNode::Policed, node_local_dns: Default::default() }
}
