//! Broken enforcers, each caught by a named case: a suite that cannot fail proves nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;
use serde_json::Value;
use support::{NETPOL, run, words};

/// A mutant, the case that catches it, and how.
struct Killer {
    mutant: &'static str,
    case: &'static str,
    exit: i32,
    says: &'static str,
}

const KILLERS: &[Killer] = &[
    // Where nothing passes without a policy, no verdict on policies can be had: the positive control says so.
    killer("drops-everything", "walkthrough/additivity", 3, "although no policy is there (N1)"),
    killer("ignores-egress", "walkthrough/ping-from-server", 1, "\"observed\": \"allowed\""),
    killer("except-denies", "walkthrough/additivity", 1, "\"observed\": \"dropped\""),
    killer("cuts-established", "walkthrough/established-connection", 1, "\"observed\": \"cut"),
    killer("skips-same-node-ingress", "walkthrough/additivity", 1, "\"observed\": \"allowed\""),
];

const fn killer(mutant: &'static str, case: &'static str, exit: i32, says: &'static str) -> Killer {
    Killer { mutant, case, exit, says }
}

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

/// What of a report is not as expected: a case's problems, and the failed cells and connections of its steps.
fn wrong(report: &Value) -> Vec<Value> {
    let case = &report["cases"][0];
    let steps = case["steps"].as_array().unwrap().iter();
    let parts = steps.flat_map(|step| [&step["cells"], &step["held"]]).flat_map(|part| part.as_array().unwrap());
    parts.filter(|part| part["status"] == "failed").chain([&case["problems"]]).cloned().collect()
}

#[rstest]
fn caught(#[values(0, 1, 2, 3, 4)] index: usize) {
    let Killer { mutant, case, exit, says } = &KILLERS[index];
    let (output, report) = run_mutant(mutant, case);
    assert_eq!(output.status.code(), Some(*exit), "{mutant} under {case}\n{}", words(&output));
    let wrong = serde_json::to_string_pretty(&wrong(&report)).unwrap();
    assert!(wrong.contains(says), "{case} failed {mutant}, but not by {says}: {wrong}");
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
        KILLERS.iter().map(|killer| killer.mutant.to_string()).chain(["reacts-late".to_owned()]).collect();
    assert_eq!(listed, tested);
}
