//! Cases of one run take turns in a world: what one has changed, the next must not find.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use support::{run, words};

/// By case: its status, and the world that it was in, by one of its namespaces.
fn worlds_of(cases: &[&str]) -> Vec<(String, String, String)> {
    let report = tempfile::tempdir().unwrap();
    let output = run(&[cases, &["--parallel", "1", "--report", report.path().to_str().unwrap()]].concat());
    let text = fs::read_to_string(report.path().join("report.json")).unwrap_or_else(|_| panic!("{}", words(&output)));
    let report: Value = serde_json::from_str(&text).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let world = |case: &Value| word(case["namespaces"].as_object().unwrap().values().next().unwrap());
    let cases = report["cases"].as_array().unwrap();
    cases.iter().map(|case| (word(&case["id"]), word(&case["status"]), world(case))).collect()
}

#[test]
fn labels_are_put_back_and_pods_that_came_again_go_on_in_the_same_world() {
    // Each begins with labels that it has changed at its end, or with pods that it has created again.
    let cases = worlds_of(&[
        "lifecycle/recreated-subject",
        "selectors/relabelled-namespace",
        "selectors/relabelled-subject",
        "--repeat",
        "2",
    ]);
    assert_eq!(cases.len(), 6, "{cases:?}");
    assert!(cases.iter().all(|(_, status, _)| status == "passed"), "{cases:?}");
    let worlds: BTreeSet<_> = cases.iter().map(|(_, _, world)| world).collect();
    assert_eq!(worlds.len(), 1, "{cases:?}");
}

#[test]
fn a_world_that_lost_a_pod_is_not_used_again() {
    let cases = worlds_of(&["lifecycle/new-pod", "lifecycle/removed-peer"]);
    assert!(cases.iter().all(|(_, status, _)| status == "passed"), "{cases:?}");
    assert_ne!(cases[0].2, cases[1].2, "{cases:?}");
}
