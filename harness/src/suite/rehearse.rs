//! A case held against the oracle before anything boots.

use std::collections::BTreeMap;

use super::convert::Converted;
use crate::Problem;
use crate::decode::Report;
use crate::plan::{Action, Case, Cell, Disagreement, Level, Matrix, PodRef, Rehearsal, Topology, symbolic};

/// Whether each cell is allowed, by step.
pub(super) type Verdicts = Vec<BTreeMap<Cell, bool>>;

/// Walks through the case with symbolic addresses; what is wrong goes into `report`.
pub(super) fn rehearse(converted: &Converted, topology: &Topology, report: &mut Report) -> Verdicts {
    let case = &converted.case;
    let mut generations: BTreeMap<PodRef, u8> = BTreeMap::new();
    let mut rehearsal = match Rehearsal::new(case, topology, &symbolic(topology, &generations)) {
        Ok(rehearsal) => rehearsal,
        Err(problems) => {
            report.extend(problems);
            return Verdicts::new();
        }
    };
    let mut verdicts = Verdicts::new();
    let mut sides = Sides::default();
    opens(case, &rehearsal, None, report);
    for (index, step) in case.steps.iter().enumerate() {
        if let Err(problems) = rehearsal.perform(index, &symbolic(topology, &generations)) {
            // What follows would be judged on another cluster than the suite means.
            report.extend(problems);
            return Verdicts::new();
        }
        let recreated = step.actions.iter().filter_map(|action| match action {
            Action::Recreate(pods) | Action::Remove(pods) => Some(pods),
            _ => None,
        });
        for pod in recreated.flatten() {
            *generations.entry(pod.clone()).or_default() += 1;
        }
        rehearsal.rebind(&symbolic(topology, &generations));
        match rehearsal.expect(index) {
            Ok(matrix) => {
                sides.count(&matrix);
                verdicts.push(matrix.into_iter().map(|(cell, expected)| (cell, expected.allowed)).collect());
            }
            Err(found) => report.extend(found.iter().map(|it| disagreement(it, converted)).collect()),
        }
        opens(case, &rehearsal, Some(index), report);
    }
    if report.is_empty() {
        sides.check(converted.one_sided.as_deref(), report);
    }
    verdicts
}

/// A connection can be opened only where it is allowed.
fn opens(case: &Case, rehearsal: &Rehearsal, after: Option<usize>, report: &mut Report) {
    for (index, hold) in case.holds.iter().enumerate().filter(|(_, hold)| hold.after == after) {
        if let Some(computed) = rehearsal.cell(&hold.cell).filter(|computed| !computed.allowed) {
            let what = format!("hold '{}' cannot be opened then; {}", hold.name, computed.reason);
            report.add(&format!("hold[{index}]"), what, "open it at a step at which it is allowed");
        }
    }
}

fn disagreement(found: &Disagreement, converted: &Converted) -> Problem {
    let rules: Vec<&str> = found.computed.rules.iter().map(String::as_str).collect();
    let Cell { from, to, traffic } = &found.cell;
    let case = if found.case.contains('[') { format!(" in {}", found.case) } else { String::new() };
    // A followed log's place is its own; a cell's is where the suite names it, if it does.
    let named = converted.named.get(&(found.step, found.cell.clone())).filter(|_| found.path.ends_with(".expect"));
    Problem {
        file: found.file.clone(),
        line: None,
        column: None,
        path: Some(named.unwrap_or(&found.path).clone()),
        what: format!(
            "suite and oracle disagree on {from} → {to} {traffic}{case}: declared {}, the oracle says {} ({})",
            if found.declared { "allowed" } else { "denied" },
            found.computed.reason,
            rules.join(", ")
        ),
        remedy: "one of them is wrong: correct the suite, or the oracle with the rule that says so".to_owned(),
    }
}

/// Whether any scored cell of a case was denied, and any allowed. Observed cells are not asserted, and so do not count.
#[derive(Default)]
struct Sides {
    denied: bool,
    allowed: bool,
}

impl Sides {
    fn count(&mut self, matrix: &Matrix) {
        for expected in matrix.values().filter(|expected| expected.scored && expected.level != Level::Observed) {
            self.denied |= !expected.allowed;
            self.allowed |= expected.allowed;
        }
    }

    fn check(&self, one_sided: Option<&str>, report: &mut Report) {
        match (self.denied && self.allowed, one_sided) {
            (false, None) => {
                let missing = if self.allowed { "denied" } else { "allowed" };
                let what = format!("the case has no scored {missing} cell");
                report.add("steps", what, "add such a cell, or say why there is none: `one-sided: \"…\"`");
            }
            (true, Some(_)) => {
                let what = "the case has scored cells of both kinds".to_owned();
                report.add("one-sided", what, "take this key away");
            }
            (false, Some(reason)) if reason.trim().is_empty() => {
                report.add("one-sided", "no reason is given".to_owned(), "say why in a sentence");
            }
            _ => {}
        }
    }
}
