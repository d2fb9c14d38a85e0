//! Bad input is refused before anything boots: all problems at once, with a documented exit code.

mod support;

use rstest::rstest;
use support::{run, words};

#[rstest]
#[case::unknown_target(&["--target", "minikube"], "unknown target 'minikube'")]
#[case::unknown_enforcer(&["--enforcer", "iptables"], "iptables")]
#[case::zero_nodes(&["--nodes", "0"], "0")]
#[case::bad_duration(&["--pace", "soon"], "soon")]
#[case::bad_glob(&["walkthrough/[a"], "walkthrough/[a")]
#[case::missing_suites(&["--suites", "/nonexistent/suites"], "/nonexistent/suites")]
#[case::missing_kubeconfig(&["--target", "kubeconfig:/nonexistent/kubeconfig"], "/nonexistent/kubeconfig")]
#[case::enforcer_elsewhere(&["--target", "kubeconfig:/nonexistent/k", "--enforcer", "none"], "--enforcer")]
fn bad_arguments_exit_2_and_name_what_is_wrong(#[case] arguments: &[&str], #[case] named: &str) {
    let output = run(arguments);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(named), "{said}");
    assert!(output.stdout.is_empty(), "results belong on stdout, complaints do not: {said}");
}

#[test]
fn a_pattern_that_matches_nothing_has_its_own_exit_code() {
    let output = run(&["walkthrough/no-such-case"]);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
}

#[test]
fn every_problem_of_every_suite_is_said_at_once() {
    let suites = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/broken");
    let output = run(&["--suites", suites]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for expected in ["area/first.yaml", "unknown-topology", "area/second.yaml", "podSelektor"] {
        assert!(said.contains(expected), "{expected} is not named in: {said}");
    }
}

#[test]
fn a_plan_is_shown_without_booting() {
    let output = run(&["walkthrough/*", "--plan"]);
    let said = words(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("walkthrough/additivity"), "{said}");
}
