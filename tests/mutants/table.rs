//! docs/mutants.md: mutant → what it breaks → the cases that catch it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::record::{Record, Records};
use crate::trial::Mutant;

/// Cases named beside a mutant.
const NAMED: usize = 3;

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs/mutants.md"].iter().collect()
}

pub(crate) fn read() -> String {
    fs::read_to_string(file()).unwrap_or_default()
}

pub(crate) fn write(text: &str) {
    fs::write(file(), text).unwrap();
}

/// The page.
pub(crate) fn table(mutants: &[Mutant], records: &Records) -> String {
    let caught: BTreeSet<&String> = records.mutants.values().flat_map(|record| &record.cases).collect();
    let killed = records.mutants.values().filter(|record| record.killer.is_some()).count();
    let whole = records.mutants.values().filter(|record| record.whole).count();
    let mut page = format!(
        "# Mutants\n\n\
         A suite that cannot fail proves nothing. `examples/broken_enforcer` is our enforcer with one bug at a time, each one that real\n\
         engines had, or what a rule or a trap warns of. With every commit CI runs a third of them, in turn, each against one\n\
         of the cases that catch it, and asks that the case fails for the reason on record.\n\n\
         Generated from `tests/mutants/killed`. `UPDATE_MUTANTS=1 cargo test --release --test mutants` runs all mutants against all\n\
         cases in the lab and writes both anew; `UPDATE_MUTANTS=NAME,NAME` runs some mutants, `UPDATE_MUTANT_CASES='nodes/* services/*'` some\n\
         cases. By hand:\n\n\
         ```\n\
         netpol run --enforcer \"command:'target/release/examples/broken_enforcer' --mutant except-ignored --kubeconfig {{kubeconfig}} --node {{node}}\"\n\
         ```\n\n\
         {} mutants; {killed} of them are caught, by {} cases so far. {whole} of them were run against the whole catalogue; the others only\n\
         against areas that their bug is about, and a + stands behind the number of cases that catch them. Rules (N…) and traps (P…):\n\
         [rules.md](rules.md).\n\n\
         | mutant | what is wrong | breaks | caught by |\n|---|---|---|---|\n",
        mutants.len(),
        caught.len(),
    );
    for mutant in mutants {
        let record = records.mutants.get(&mutant.name).cloned().unwrap_or_default();
        let by = caught_by(mutant, &record);
        writeln!(page, "| `{}` | {} | {} | {by} |", mutant.name, mutant.does, mutant.breaks.replace(' ', ", "))
            .unwrap();
    }
    if whole > 0 {
        page += &uncaught(records, &caught);
    }
    page
}

/// The cases that nothing has failed.
fn uncaught(records: &Records, caught: &BTreeSet<&String>) -> String {
    let mut suites: BTreeMap<&str, usize> = BTreeMap::new();
    for case in records.catalogue.iter().filter(|case| !caught.contains(case)) {
        *suites.entry(suite(case)).or_default() += 1;
    }
    let mut page = "\n## Cases that no mutant fails\n\nOf those that mutants were run against. Those of `api/` ask the API server, \
                    which no mutant replaces.\n\n"
        .to_owned();
    for (suite, count) in suites {
        let cases = if count == 1 { "case" } else { "cases" };
        writeln!(page, "- [{suite}](../suites/{suite}.yaml): {count} {cases}").unwrap();
    }
    page
}

fn caught_by(mutant: &Mutant, record: &Record) -> String {
    let Some(killer) = &record.killer else {
        if mutant.seen_by.is_none() {
            return "not run yet".to_owned();
        }
        return format!("no case; seen by {}", mutant.seen_by.as_deref().unwrap_or("nothing"));
    };
    let mut suites = vec![suite(&killer.case)];
    for case in &record.cases {
        if !suites.contains(&suite(case)) {
            suites.push(suite(case));
        }
    }
    let named: Vec<String> =
        suites.into_iter().take(NAMED).map(|suite| format!("[{suite}](../suites/{suite}.yaml)")).collect();
    let more = if record.whole { "" } else { "+" };
    format!("{}{more}: {}", record.cases.len(), named.join(", "))
}

/// A case's id without its parameters.
fn suite(case: &str) -> &str {
    case.split('[').next().unwrap_or(case)
}
