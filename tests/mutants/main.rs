//! Broken enforcers, each caught by a case: a suite that cannot fail proves nothing.
//!
//! `killed/` records for each mutant which cases fail under it, and the one that CI runs against it. After a change of the
//! mutants or of the catalogue, `UPDATE_MUTANTS=1 cargo test --release --test mutants` runs all of them against all cases and
//! writes the records and docs/mutants.md anew; `UPDATE_MUTANTS=NAME,NAME` only these mutants, `UPDATE_MUTANT_CASES='nodes/* …'`
//! only these cases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod finding;
mod record;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod trial;
mod update;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, OnceLock};

use record::{Killer, Records};
use support::words;
use trial::{Trial, list};

/// Labs that stand at the same time: mostly they wait for a matrix that does not agree.
const LABS: usize = 4;

/// The records; brought up to date first if that was asked for.
fn records() -> &'static Records {
    static RECORDS: OnceLock<Records> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let mut records = Records::read();
        if let Ok(wanted) = std::env::var("UPDATE_MUTANTS") {
            update::update(&mut records, &wanted);
        }
        records
    })
}

/// With `NETPOL_MUTANTS=I/N` every N-th of them, from the I-th on: all of them take minutes, and CI runs one share a commit, in turn.
#[test]
fn every_mutant_is_caught_by_its_killer() {
    let killers = records().mutants.iter().filter_map(|(name, record)| Some((name, record.killer.as_ref()?)));
    let killers: VecDeque<_> = killers.enumerate().filter(|(at, _)| in_share(*at)).map(|(_, killer)| killer).collect();
    assert!(!killers.is_empty(), "NETPOL_MUTANTS leaves no mutant");
    println!("{} mutants", killers.len());
    let (waiting, escaped) = (Mutex::new(killers), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..LABS {
            scope.spawn(|| {
                // Not in the loop's condition, where it would stay locked.
                let next = || waiting.lock().unwrap().pop_front();
                while let Some((name, killer)) = next() {
                    let how = escapes(name, killer);
                    escaped.lock().unwrap().extend(how);
                }
            });
        }
    });
    let escaped = escaped.into_inner().unwrap();
    assert!(escaped.is_empty(), "{}", escaped.join("\n\n"));
}

fn in_share(at: usize) -> bool {
    let Ok(share) = std::env::var("NETPOL_MUTANTS") else { return true };
    let (index, count) = share.split_once('/').expect("NETPOL_MUTANTS is I/N");
    let (index, count): (usize, usize) = (index.parse().unwrap(), count.parse().unwrap());
    at % count == (index - 1) % count
}

/// How a mutant got away from its killer; none if it was caught.
fn escapes(mutant: &str, Killer { case, exit, finding }: &Killer) -> Option<String> {
    let trial = Trial::run_one(mutant, case);
    let found: Vec<String> = trial.cases().flat_map(finding::findings).collect();
    let caught = trial.output.status.code() == Some(*exit) && found.contains(finding);
    (!caught).then(|| {
        format!(
            "{mutant} under {case}: exit code {exit} and '{finding}' were expected; found {found:#?}\n{}",
            words(&trial.output)
        )
    })
}

#[test]
fn a_slow_enforcer_is_measured_and_not_failed() {
    records();
    let trial = Trial::run_one("reacts-late", "walkthrough/additivity");
    assert_eq!(trial.output.status.code(), Some(0), "{}", words(&trial.output));
    for step in trial.cases().flat_map(|case| case["steps"].as_array().unwrap()) {
        for (node, after) in step["canaryMs"].as_object().unwrap() {
            assert!(
                after.as_f64().unwrap() >= 400.0,
                "{node} followed after {after} ms although it waits 400 ms first"
            );
        }
    }
}

#[test]
fn every_mutant_has_a_killer_or_says_what_sees_it() {
    let (mutants, records) = (list(), records());
    let listed: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.name).collect();
    assert_eq!(listed, records.mutants.keys().collect(), "mutants, and their records in tests/mutants/killed");
    let at_large: Vec<&String> = mutants
        .iter()
        .filter(|mutant| mutant.seen_by.is_none() && records.mutants[&mutant.name].killer.is_none())
        .map(|mutant| &mutant.name)
        .collect();
    let untried: Vec<&String> = at_large.into_iter().filter(|name| !records.untried.contains(*name)).collect();
    assert!(untried.is_empty(), "no case fails under {untried:?}, and nothing else is said to see them");
    let tried: Vec<&String> = records.untried.iter().filter(|name| records.mutants[*name].killer.is_some()).collect();
    assert!(tried.is_empty(), "take {tried:?} out of tests/mutants/untried.txt: they have been run");
}

#[test]
fn the_table_is_what_the_records_say() {
    let fresh = table::table(&list(), records());
    if std::env::var_os("UPDATE_MUTANTS").is_some() {
        table::write(&fresh);
    }
    assert!(
        table::read() == fresh,
        "docs/mutants.md is stale: UPDATE_MUTANTS=none cargo test --test mutants the_table"
    );
}
