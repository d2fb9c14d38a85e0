//! Broken enforcers, each caught by a named case: a suite that cannot fail proves nothing.

#[expect(dead_code, reason = "each test binary uses its part of the support")]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;
use serde_json::Value;
use support::{NETPOL, run, words};

/// Every mutant with the case that catches it.
const KILLERS: &[(&str, &str)] = &[
    ("drops-everything", "walkthrough/additivity"),
    ("ignores-egress", "walkthrough/ping-from-server"),
    ("except-denies", "walkthrough/additivity"),
    ("cuts-established", "walkthrough/established-survives"),
    ("skips-same-node-ingress", "walkthrough/additivity"),
];

fn broken_enforcer() -> PathBuf {
    Path::new(NETPOL).parent().unwrap().join("examples/broken_enforcer")
}

fn run_mutant(mutant: &str, case: &str) -> (std::process::Output, Value) {
    let command = format!(
        "command:'{}' --mutant {mutant} --kubeconfig {{kubeconfig}} --node {{node}}",
        broken_enforcer().display()
    );
    let output = run(&[case, "--enforcer", &command, "--hold", "0s", "--output", "json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    (output, report)
}

#[rstest]
fn caught(#[values(0, 1, 2, 3, 4)] index: usize) {
    let (mutant, case) = KILLERS[index];
    let (output, _) = run_mutant(mutant, case);
    assert_eq!(output.status.code(), Some(1), "{mutant} survived {case}\n{}", words(&output));
}

#[test]
fn a_slow_enforcer_is_measured_and_not_failed() {
    let (output, report) = run_mutant("reacts-late", "walkthrough/additivity");
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let steps = report["cases"][0]["steps"].as_array().unwrap();
    for step in steps {
        for (node, after) in step["canaryMs"].as_object().unwrap() {
            assert!(
                after.as_f64().unwrap() >= 400.0,
                "{node} followed after {after} ms although it waits 400 ms first"
            );
        }
    }
}

#[test]
fn every_mutant_has_a_killer() {
    let listed = Command::new(broken_enforcer()).arg("--list").output().unwrap();
    let listed: BTreeSet<String> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    let tested: BTreeSet<String> =
        KILLERS.iter().map(|(mutant, _)| mutant.to_string()).chain(["reacts-late".to_owned()]).collect();
    assert_eq!(listed, tested);
}
