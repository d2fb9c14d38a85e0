//! A step's matrix, drawn: rows are who probes, columns who is probed. Only wrong cells are marked.

use std::collections::BTreeMap;
use std::fmt::Write;

use owo_colors::OwoColorize;

use super::{CellReport, Expectation, Status, StepReport};
use crate::probe::Verdict;

/// One table per probe, and a line for every wrong cell.
pub fn draw(step: &StepReport) -> String {
    let mut probes: BTreeMap<&str, Vec<&CellReport>> = BTreeMap::new();
    for cell in &step.cells {
        probes.entry(&cell.probe).or_default().push(cell);
    }
    let mut out = String::new();
    for (probe, cells) in &probes {
        table(&mut out, probe, cells);
    }
    for cell in step.cells.iter().filter(|cell| cell.status != Status::Passed) {
        complaint(&mut out, cell);
    }
    out
}

fn table(out: &mut String, probe: &str, cells: &[&CellReport]) {
    let mut pods: Vec<&str> = cells.iter().flat_map(|cell| [cell.from.as_str(), cell.to.as_str()]).collect();
    pods.sort_unstable();
    pods.dedup();
    let names: Vec<&str> = pods.iter().map(|pod| short(pod, &pods)).collect();
    let first = names.iter().map(|name| name.len()).chain([probe.len()]).max().unwrap_or_default();
    _ = write!(out, "    {:first$}", probe.bold());
    for name in &names {
        _ = write!(out, "  {}", name.dimmed());
    }
    out.push('\n');
    for (from, name) in pods.iter().zip(&names) {
        _ = write!(out, "    {name:first$}");
        for (to, column) in pods.iter().zip(&names) {
            let cell = cells.iter().find(|cell| cell.from == *from && cell.to == *to);
            let width = column.len();
            // Padding before colour: escape sequences have no width.
            let left = (width - 1) / 2;
            _ = write!(out, "  {:left$}{}{:right$}", "", mark(cell.copied()), "", right = width - 1 - left);
        }
        out.push('\n');
    }
}

/// Without its namespace where all pods share it.
fn short<'a>(pod: &'a str, pods: &[&str]) -> &'a str {
    let namespace = |pod: &str| pod.split_once('/').map(|(namespace, _)| namespace.to_owned());
    let shared = pods.iter().all(|other| namespace(other) == namespace(pod));
    pod.split_once('/').filter(|_| shared).map_or(pod, |(_, name)| name)
}

fn mark(cell: Option<&CellReport>) -> String {
    let Some(cell) = cell else { return " ".into() };
    let sign = sign(cell.observed);
    match (cell.status, cell.asserted) {
        (Status::Passed, true) if cell.expected == Expectation::Allowed => sign.green().to_string(),
        (Status::Passed, true) => sign.blue().to_string(),
        (Status::Passed, false) => sign.dimmed().to_string(),
        (_, false) => sign.yellow().to_string(),
        (_, true) => sign.white().on_red().bold().to_string(),
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "✓",
        Verdict::Dropped => "✗",
        Verdict::Rejected => "⊘",
        Verdict::OneWay => "→",
        Verdict::Unreachable => "∅",
        Verdict::NotMeasured => "?",
    }
}

fn complaint(out: &mut String, cell: &CellReport) {
    let expected = match cell.expected {
        Expectation::Allowed => "allowed",
        Expectation::Denied => "denied",
    };
    let weight =
        if cell.asserted { "wrong".red().bold().to_string() } else { "noted, not asserted".yellow().to_string() };
    _ = writeln!(
        out,
        "    {weight}: {} → {} {} ({}) was {}, expected {expected}: {}",
        cell.from, cell.to, cell.probe, cell.level, cell.observed, cell.reason
    );
    if let Some(evidence) = cell.evidence.as_ref().filter(|_| cell.asserted) {
        _ = writeln!(out, "      {}", evidence.dimmed());
    }
}
