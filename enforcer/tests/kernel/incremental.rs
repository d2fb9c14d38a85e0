//! Whatever sequence of changes leads to a world, what is kept up to date change by change is what compiling that world from
//! nothing gives, and every step's difference leads from the ruleset before to the one after.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_enforcer::compile::{Incremental, compile, skeleton};
use netpol_enforcer::diff::{Delta as RulesetDelta, Presence};
use netpol_enforcer::world::{Change, Delta, Namespace, Pod, Policy, World};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::manifests::{Comparable, comparable, site};

fn read<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of this kind")
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (0..3, 0..3).prop_map(|(name, team)| {
        let labels = json!({ "team": format!("t{team}") });
        Namespace::read(&read::<ApiNamespace>(json!({ "metadata": { "name": format!("n{name}"), "labels": labels } })))
    })
}

/// Few names, addresses and labels, so that pods take each other's.
fn pod() -> impl Strategy<Value = Pod> {
    let identity = (0..3, 0..3, 0..3, 0..2);
    let looks = (0..3, 0..3, 0..3, prop::collection::btree_set(0u8..8, 0..3), 0..12);
    (identity, looks).prop_map(|((namespace, name, uid, node), (app, tier, port, addresses, state))| {
        let addresses: Vec<Value> = addresses
            .iter()
            .map(|address: &u8| match *address % 2 {
                0 => json!({ "ip": format!("10.0.0.{address}") }),
                _ => json!({ "ip": format!("fd00::{address}") }),
            })
            .collect();
        let mut metadata = json!({
            "namespace": format!("n{namespace}"), "name": format!("p{name}"), "uid": format!("u{uid}"),
            "labels": { "app": format!("a{app}"), "tier": format!("b{tier}") },
        });
        if state == 0 {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let phase = if state == 1 { "Succeeded" } else { "Running" };
        let ports = json!([{ "name": "http", "containerPort": 80 + port }]);
        let spec = json!({
            "nodeName": format!("node-{node}"), "hostNetwork": state == 2,
            "containers": [{ "name": "main", "ports": if state < 6 { ports } else { json!([]) } }],
        });
        Pod::read(&read::<ApiPod>(json!({
            "metadata": metadata, "spec": spec, "status": { "phase": phase, "podIPs": addresses },
        })))
    })
}

fn selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (0..3).prop_map(|app| json!({ "matchLabels": { "app": format!("a{app}") } })),
        (0..3).prop_map(|tier| json!({
            "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": [format!("b{tier}")] }],
        })),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    let namespaces =
        prop_oneof![Just(json!({})), (0..3).prop_map(|team| json!({ "matchLabels": { "team": format!("t{team}") } })),];
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        (namespaces, selector())
            .prop_map(|(namespaces, pods)| json!({ "namespaceSelector": namespaces, "podSelector": pods })),
        Just(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.4/31"] } })),
        Just(json!({ "ipBlock": { "cidr": "fd00::/16" } })),
        Just(json!({ "ipBlock": { "cidr": "garbage" } })),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let port = prop_oneof![
        Just(json!({ "port": 80, "endPort": 81 })),
        Just(json!({ "port": "http" })),
        Just(json!({ "protocol": "UDP" })),
    ];
    let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port, 0..3));
    let rules = prop::collection::vec(rule, 0..3);
    ((0..3, 0..3), selector(), 0usize..4, rules).prop_map(|((namespace, name), subject, types, rules)| {
        let types = [json!([]), json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])][types].clone();
        let rules = |side: &str| -> Vec<Value> {
            rules.iter().map(|(peers, ports)| json!({ side: peers, "ports": ports })).collect()
        };
        Policy::read(&read::<NetworkPolicy>(json!({
            "metadata": { "namespace": format!("n{namespace}"), "name": format!("q{name}") },
            "spec": {
                "podSelector": subject, "policyTypes": types, "ingress": rules("from"), "egress": rules("to"),
            },
        })))
    })
}

fn delta<T: std::fmt::Debug + Clone + 'static>(
    of: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Delta<T>> {
    prop_oneof![
        8 => of.clone().prop_map(Delta::Set),
        3 => of.clone().prop_map(Delta::Gone),
        1 => prop::collection::vec(of, 0..6).prop_map(Delta::All),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => delta(namespace().boxed()).prop_map(Change::Namespaces),
        3 => delta(pod().boxed()).prop_map(Change::Pods),
        2 => delta(policy().boxed()).prop_map(Change::Policies),
    ]
}

/// What the kernel would do, and refuse.
fn apply(ruleset: &mut Comparable, delta: &RulesetDelta) {
    let (sets, chains) = ruleset;
    for (name, set) in &delta.sets {
        match set.presence {
            Presence::Added => assert!(sets.insert(name.clone(), BTreeSet::new()).is_none(), "{name} is there"),
            Presence::Kept => assert!(sets.contains_key(name), "{name} is not there"),
            Presence::Deleted => {
                assert!(sets.remove(name).is_some(), "{name} is not there");
                continue;
            }
        }
        let held = sets.get_mut(name).expect("it is there");
        set.deleted.iter().for_each(|element| assert!(held.remove(element), "{name} has no {element}"));
        set.added.iter().for_each(|element| assert!(held.insert(element.clone()), "{name} has {element} already"));
    }
    for (name, chain) in &delta.chains {
        let before = match chain.presence {
            Presence::Deleted => chains.remove(name),
            _ => chains.insert(name.clone(), chain.rules.clone()),
        };
        assert_eq!(before.is_some(), chain.presence != Presence::Added, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_changes_ends_where_compiling_anew_does(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..40),
        first in 0..40usize,
    ) {
        let (mut world, site) = (World::default(), site("node-1"));
        let mut batches = batches.into_iter();
        for change in batches.by_ref().take(first).flatten() {
            world.apply(change);
        }
        let mut compiled = Incremental::new(world.clone(), site.clone());
        let mut kernel = comparable(&compiled.ruleset());
        prop_assert_eq!(&kernel, &comparable(&compile(&world, &site)));
        for batch in batches {
            batch.iter().for_each(|change| drop(world.apply(change.clone())));
            let update = compiled.update(batch);
            apply(&mut kernel, &update.delta);
            let anew = compile(&world, &site);
            prop_assert_eq!(&kernel, &comparable(&anew));
            prop_assert_eq!(&comparable(&compiled.ruleset()), &comparable(&anew));
        }
        // Nothing is left of what is gone.
        let gone = [Change::Policies(Delta::All(Vec::new())), Change::Pods(Delta::All(Vec::new()))];
        compiled.update(gone);
        prop_assert_eq!(&comparable(&compiled.ruleset()), &comparable(&skeleton(&site)));
    }
}
