//! Other suites, row by row: which of our cases cover each of their tests, or why none does.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use netpol_harness::suite::{Source, load};
use serde::Deserialize;

/// A suite of others: `fixtures/upstream/*.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    title: String,
    source: String,
    rows: Vec<Row>,
}

/// One of its tests, or a family of generated ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    /// How many generated cases the family has.
    cases: Option<usize>,
    checks: String,
    /// Ids of ours, with or without parameters.
    by: Vec<String>,
    /// What is different, or why there is none of ours.
    but: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn upstream(name: &str) -> Upstream {
    let text = fs::read_to_string(root().join("fixtures/upstream").join(name)).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn both() -> [Upstream; 2] {
    [upstream("e2e.yaml"), upstream("cyclonus.yaml")]
}

#[test]
fn every_row_names_cases_that_there_are_or_says_why_there_is_none() {
    let loaded = load(&Source::Embedded).unwrap();
    let ids = loaded.cases.iter().flat_map(|case| [case.id.as_str(), case.id.split('[').next().unwrap()]);
    let ids: BTreeSet<&str> = ids.collect();
    for Upstream { title, rows, .. } in both() {
        for row in rows {
            let unknown: Vec<&String> = row.by.iter().filter(|id| !ids.contains(id.as_str())).collect();
            assert!(unknown.is_empty(), "{title}, {}: there is no case {unknown:?}", row.id);
            assert!(!row.by.is_empty() || row.but.is_some(), "{title}, {}: neither a case nor a reason", row.id);
        }
    }
}

/// 48 cases of the data plane, two of the API and four of the older suite; Cyclonus has 230.
#[test]
fn no_row_is_left_out() {
    let [e2e, cyclonus] = both();
    let ids: Vec<&str> = e2e.rows.iter().map(|row| row.id.as_str()).collect();
    let expected: Vec<String> = (1..=48).map(|number| number.to_string()).collect();
    assert_eq!(ids[..48], expected);
    assert_eq!(ids[48..], ["A1", "A2", "L1", "L2", "L3", "L4"]);
    assert_eq!(cyclonus.rows.iter().filter_map(|row| row.cases).sum::<usize>(), 230);
}

#[test]
fn the_tables_are_what_the_rows_say() {
    let (file, fresh) = (root().join("docs/upstream.md"), tables());
    if std::env::var_os("UPDATE_INDEX").is_some() {
        fs::write(&file, &fresh).unwrap();
    }
    let stands = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(stands, fresh, "docs/upstream.md is stale: UPDATE_INDEX=1 cargo test -p netpol-harness --test suites");
}

fn tables() -> String {
    let mut text = "# What other suites test, and where we do\n\nGenerated from `fixtures/upstream`; \
        `UPDATE_INDEX=1 cargo test -p netpol-harness --test suites` writes it anew. A case that is named here scores every cell of its \
        matrix, also where the other suite looks at some alone.\n"
        .to_owned();
    for Upstream { title, source, rows } in both() {
        let counted = rows.iter().any(|row| row.cases.is_some());
        let (head, rule) = if counted { ("| cases ", "|---") } else { ("", "") };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {title}\n\n<{source}>\n\n| id {head}| checks | ours |\n|---{rule}|---|---|\n");
        for Row { id, cases, checks, by, but } in rows {
            let count = cases.map_or(String::new(), |cases| format!("| {cases} "));
            let ours: Vec<String> = by.iter().map(|case| link(case)).chain(but).collect();
            let _ = writeln!(text, "| {id} {count}| {checks} | {} |", ours.join("; "));
        }
    }
    text
}

/// A case as a link to its file; brackets of parameters would end the link's text.
fn link(case: &str) -> String {
    let file = case.split('[').next().unwrap_or_default();
    format!("[{}](../suites/{file}.yaml)", case.replace('[', "\\[").replace(']', "\\]"))
}
