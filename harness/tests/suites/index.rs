//! The generated index of the catalogue, and the rules that no case cites yet.

use std::fs;
use std::path::Path;

use netpol_harness::suite::{Source, index, load, uncovered};

/// Beside the suites: rules without a case. A rule may leave the list, and none may enter it.
const UNCOVERED: &str = "uncovered.txt";

fn suites() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../suites")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_INDEX").is_some()
}

#[test]
fn the_index_is_what_the_suites_say() {
    let (file, fresh) = (suites().join("README.md"), index(&load(&Source::Embedded).unwrap()));
    if updating() {
        fs::write(&file, &fresh).unwrap();
    }
    let stands = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(stands, fresh, "suites/README.md is stale: UPDATE_INDEX=1 cargo test -p netpol-harness --test suites");
}

#[test]
fn every_rule_has_a_case_but_those_of_a_list_that_only_shrinks() {
    let file = suites().join(UNCOVERED);
    let listed = fs::read_to_string(&file).unwrap();
    let listed: Vec<&str> = listed.split_whitespace().collect();
    let open: Vec<String> = uncovered(&load(&Source::Embedded).unwrap()).iter().map(ToString::to_string).collect();
    let lost: Vec<&String> = open.iter().filter(|rule| !listed.contains(&rule.as_str())).collect();
    assert!(lost.is_empty(), "no case cites {lost:?} any more: a rule that has had a case keeps one");
    if updating() {
        fs::write(&file, open.join("\n") + "\n").unwrap();
        return;
    }
    assert_eq!(open, listed, "take rules that have a case out of suites/{UNCOVERED}: UPDATE_INDEX=1 does");
}
