//! Compilation is pure: worlds in YAML, rulesets as nft text.

use crate::manifests::{site, without, world};
use netpol_enforcer::compile::{OwnNode, Site, compile, skeleton};
use netpol_enforcer::world::ObjectKey;

#[test]
fn closed_skeleton() {
    insta::assert_snapshot!(skeleton(&site("node-1")));
}

#[test]
fn own_node_left_open() {
    let open = Site { own_node: OwnNode::Open, ..site("node-1") };
    let ruleset = skeleton(&open);
    let input: Vec<String> = ruleset.chains["input"].1.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(input.join("\n"));
}

const WALKTHROUGH: &str = include_str!("worlds/walkthrough.yaml");

#[test]
fn walkthrough_stage_0() {
    let world = without(world(WALKTHROUGH), "network-policy", &["allow-us-east", "block-us-east-egress"]);
    insta::assert_snapshot!(compile(&world, &site("node-1")));
}

#[test]
fn walkthrough_stage_2() {
    insta::assert_snapshot!(compile(&world(WALKTHROUGH), &site("node-1")));
}

#[test]
fn walkthrough_stage_3() {
    let world = without(world(WALKTHROUGH), "network-policy", &["allow-us-east"]);
    insta::assert_snapshot!(compile(&world, &site("node-1")));
}

#[test]
fn walkthrough_on_a_node_without_subjects() {
    insta::assert_snapshot!(compile(&world(WALKTHROUGH), &site("node-2")));
}

#[test]
fn peers() {
    insta::assert_snapshot!(compile(&world(include_str!("worlds/peers.yaml")), &site("node-1")));
}

#[test]
fn ports() {
    insta::assert_snapshot!(compile(&world(include_str!("worlds/ports.yaml")), &site("node-1")));
}

#[test]
fn dual_stack() {
    insta::assert_snapshot!(compile(&world(include_str!("worlds/dual-stack.yaml")), &site("node-1")));
}

#[test]
fn policy_types() {
    insta::assert_snapshot!(compile(&world(include_str!("worlds/types.yaml")), &site("node-1")));
}

#[test]
fn pods() {
    insta::assert_snapshot!(compile(&world(include_str!("worlds/pods.yaml")), &site("node-1")));
}

#[test]
fn refused() {
    let world = world(include_str!("worlds/refused.yaml"));
    insta::assert_snapshot!(compile(&world, &site("node-1")));
    let reasons: Vec<String> = world
        .policies
        .values()
        .flat_map(|policy| policy.refused.iter().map(|reason| format!("{}: {reason}", policy.key)))
        .collect();
    insta::assert_snapshot!("refused_reasons", reasons.join("\n"));
}

#[test]
fn a_pod_that_is_gone_leaves_nothing_behind() {
    let full = world(WALKTHROUGH);
    let mut less = full.clone();
    less.pods.remove(&ObjectKey::new("network-policy", "client-us-east"));
    let text = compile(&less, &site("node-1")).to_string();
    // Its address still stands in the policy's own except, and nowhere else.
    assert!(!text.contains("network-policy/client-us-east") && !text.contains("10.1.0.3 : "), "{text}");
}
