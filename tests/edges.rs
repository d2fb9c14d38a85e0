//! Holds the workspace's normal-dependency edges to the ones that ARCHITECTURE.md draws.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each room may depend on. Oracle and enforcer never meet: a shared helper would be a shared bug.
const EDGES: &[(&str, &[&str])] = &[
    ("netpol", &["netpol-agent", "netpol-bench", "netpol-enforcer", "netpol-harness", "netpol-image", "netpol-lab"]),
    ("netpol-agent", &["netpol-wire"]),
    ("netpol-bench", &["netpol-enforcer", "netpol-lab"]),
    ("netpol-containers", &[]),
    ("netpol-enforcer", &["netpol-nft"]),
    ("netpol-harness", &["netpol-oracle", "netpol-wire"]),
    ("netpol-image", &[]),
    ("netpol-lab", &["netpol-nft"]),
    ("netpol-nft", &[]),
    ("netpol-oracle", &[]),
    ("netpol-wire", &[]),
];

#[test]
fn workspace_crates_depend_on_each_other_as_drawn() {
    let metadata = MetadataCommand::new().exec().unwrap();
    let members: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let found: BTreeMap<String, BTreeSet<String>> = metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|edge| edge.kind == DependencyKind::Normal);
            (
                package.name.to_string(),
                normal.map(|edge| edge.name.clone()).filter(|name| members.contains(name)).collect(),
            )
        })
        .collect();
    let drawn: BTreeMap<String, BTreeSet<String>> =
        EDGES.iter().map(|(from, to)| (from.to_string(), to.iter().map(|name| name.to_string()).collect())).collect();
    assert_eq!(found, drawn);
}

#[test]
fn the_oracle_does_no_input_or_output_and_knows_no_async() {
    let metadata = MetadataCommand::new().exec().unwrap();
    let oracle = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == "netpol-oracle");
    let normal: BTreeSet<_> = oracle
        .unwrap()
        .dependencies
        .iter()
        .filter(|edge| edge.kind == DependencyKind::Normal)
        .map(|edge| edge.name.as_str())
        .collect();
    assert_eq!(normal, BTreeSet::from(["ipnet", "k8s-openapi", "thiserror"]));
}
