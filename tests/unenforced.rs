//! A cluster without enforcement is the point of it all: it must be told, loudly, and with its own exit code.

mod support;

use support::{run, words};

#[test]
fn a_lab_without_enforcer_fails_and_says_in_one_sentence_why() {
    let output = run(&["walkthrough/*", "--enforcer", "none"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("NetworkPolicies are accepted here and not enforced"), "{said}");
    assert!(said.contains("no network plugin that we know was found"), "{said}");
    // Every case fails: none of them has only allowed cells.
    assert!(said.contains(" 0 passed"), "{said}");
}
