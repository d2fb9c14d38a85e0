//! Runs mutants against the catalogue and brings their records up to date.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use serde_json::Value;

use crate::finding::{cells, findings, steps};
use crate::record::{Killer, Record, Records};
use crate::support::words;
use crate::trial::{Trial, list};

/// Runs the wanted mutants, separated by commas, or `1` for all; one after the other, each in a lab of its own.
pub(crate) fn update(records: &mut Records, wanted: &str) {
    let names: Vec<String> = list().into_iter().map(|mutant| mutant.name).collect();
    let is_wanted = |name: &&String| wanted == "1" || wanted.split(',').any(|wanted| wanted == *name);
    let patterns = std::env::var("UPDATE_MUTANT_CASES").unwrap_or_default();
    let patterns: Vec<&str> = patterns.split_whitespace().collect();
    for name in names.iter().filter(is_wanted) {
        let start = Instant::now();
        // Two lanes more than a lab has by itself: a case that fails waits, and does not work.
        let trial = Trial::run(name, &patterns, &["--hold", "0s", "--parallel", "6"]);
        let cases: Vec<&Value> = trial.cases().collect();
        assert!(!cases.is_empty(), "{name} gave no report\n{}", words(&trial.output));
        let record = records.mutants.entry(name.clone()).or_default();
        merge(record, &cases, patterns.is_empty());
        let ran = cases.iter().map(|case| id(case));
        if patterns.is_empty() {
            records.catalogue = ran.collect();
        } else {
            records.catalogue.extend(ran);
        }
        say(name, &records.mutants[name], &cases, start);
        records.write(name);
        records.write_catalogue();
    }
    records.keep(&names.into_iter().collect());
}

fn id(case: &Value) -> String {
    case["id"].as_str().unwrap_or_default().to_owned()
}

/// Takes in what was found; where the whole catalogue was run, nothing else is known any more.
fn merge(record: &mut Record, cases: &[&Value], whole: bool) {
    if whole {
        *record = Record { whole, ..Record::default() };
    }
    let (caught, passed): (Vec<&Value>, Vec<&Value>) = cases.iter().partition(|case| !findings(case).is_empty());
    let passed: BTreeSet<String> = passed.into_iter().map(id).collect();
    record.cases.retain(|case| !passed.contains(case));
    record.cases.extend(caught.iter().map(|case| id(case)));
    let stands = record.killer.as_ref().is_some_and(|killer| record.cases.contains(&killer.case));
    if !stands {
        let quickest = caught.iter().min_by_key(|case| (cost(case), id(case)));
        record.killer = quickest.map(|case| Killer {
            case: id(case),
            exit: if case["status"] == "failed" { 1 } else { 3 },
            finding: findings(case).remove(0),
        });
    }
}

/// About how long a case takes that fails, in hundredths of a second: a failed step waits for its matrix to agree. What was
/// measured would depend on what else ran.
fn cost(case: &Value) -> usize {
    let (failed, all) = steps(case);
    failed * 500 + all * 50 + cells(case) / 4
}

/// Past the test's captured output: this takes long.
fn say(name: &str, record: &Record, cases: &[&Value], start: Instant) {
    let unmeasured = |case: &&&Value| case["status"] == "notMeasured" && findings(case).is_empty();
    let unmeasured: BTreeSet<String> = cases.iter().filter(unmeasured).map(|case| id(case)).collect();
    let killer = record.killer.as_ref().map_or("nobody", |killer| &killer.case);
    let line = format!(
        "{name}: {} of {} cases fail, killed by {killer}, {} s; not measured: {unmeasured:?}\n",
        record.cases.len(),
        cases.len(),
        start.elapsed().as_secs(),
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
