//! A long run at a glance: a line per area, a sign per case, and why cases were skipped.

use std::collections::BTreeMap;
use std::fmt::Write;

use owo_colors::OwoColorize;

use super::{CaseReport, Report, Status, terminal};

/// Signs on a line.
const WIDTH: usize = 60;

/// A line per area with a sign for each of its cases, in the order of their ids; a line per reason for which cases were skipped.
pub fn overview(report: &Report) -> String {
    let mut areas: BTreeMap<&str, Vec<&CaseReport>> = BTreeMap::new();
    for case in &report.cases {
        areas.entry(case.id.split('/').next().unwrap_or_default()).or_default().push(case);
    }
    let widest = areas.keys().map(|area| area.len()).max().unwrap_or_default();
    let mut text = String::from("\n");
    for (area, cases) in areas {
        for (row, signs) in cases.chunks(WIDTH).enumerate() {
            let (name, count) = if row == 0 { (area, format!("  {}", cases.len())) } else { ("", String::new()) };
            let signs: String = signs.iter().map(|case| terminal::badge(case.status)).collect();
            // Writing to a String cannot fail.
            _ = writeln!(text, "{name:widest$}  {signs}{}", count.dimmed());
        }
    }
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in report.cases.iter().filter(|case| case.status == Status::Skipped) {
        for why in &case.problems {
            skipped.entry(why).or_default().push(&case.id);
        }
    }
    for (why, cases) in skipped {
        _ = writeln!(text, "{} skipped: {why} ({})", cases.len(), cases.join(", "));
    }
    text
}
