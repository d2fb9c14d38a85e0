//! The order of booting: each step after what it needs.

use netpol_harness::target::kind::Cni;
use netpol_harness::target::kind::cni_entry::load;
use netpol_harness::target::kind::steps::{CREATE, PREPARE, REUSE, Step, applies};

fn of(cni: &'static str, after: &[Step], loads_images: bool) -> Vec<String> {
    let entry = load(&Cni::Embedded(cni)).unwrap().cni;
    let all = PREPARE.iter().chain(after);
    all.filter(|step| applies(**step, &entry, loads_images)).map(ToString::to_string).collect()
}

#[test]
fn a_new_cluster() {
    insta::assert_snapshot!(of("calico", &CREATE, true).join("\n"), @r"
    looking for kind
    looking for the container engine
    reading the CNI's manifest
    preparing netpol's image
    looking for clusters of this name
    creating the cluster
    loading images into the nodes
    installing the CNI
    waiting for the CNI's pods
    waiting for the nodes
    recording the cluster's shape
    ");
}

#[test]
fn kindnet_needs_no_manifest_and_a_pulled_image_no_loading() {
    insta::assert_snapshot!(of("kindnet", &CREATE, false).join("\n"), @r"
    looking for kind
    looking for the container engine
    preparing netpol's image
    looking for clusters of this name
    creating the cluster
    waiting for the CNI's pods
    waiting for the nodes
    recording the cluster's shape
    ");
}

#[test]
fn a_cluster_that_is_there() {
    insta::assert_snapshot!(of("enforcer", &REUSE, true)[4..].join("\n"), @r"
    looking for clusters of this name
    using the cluster that is there
    loading images into the nodes
    waiting for the CNI's pods
    waiting for the nodes
    recording the cluster's shape
    ");
}
