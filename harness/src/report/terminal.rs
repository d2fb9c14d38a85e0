//! Reports for people: a block per case with a matrix per step, and the sentences at the end.

use std::fmt::Write;

use owo_colors::OwoColorize;

use super::{CaseReport, Control, HeldReport, LogReport, Report, Status, StepReport, matrix};

const LEGEND: &str = "rows probe columns: ✓ allowed ✗ dropped ⊘ rejected → one way ∅ unreachable ? not measured; a pod's cell to itself is not scored";

/// The first line of a case.
pub fn heading(id: &str, description: &str) -> String {
    format!("\n{}  {description}\n", id.bold())
}

/// The stage before the first policy.
pub fn control(control: &Control) -> String {
    let Control { allowed, cells, rtt_p99_us, timeout_ms, unsupported } = control;
    let unsupported = match unsupported.len() {
        0 => String::new(),
        some => format!(", {some} unsupported"),
    };
    let timing = format!("round trips {:.1} ms (p99), so probes wait {timeout_ms} ms", *rtt_p99_us as f64 / 1000.0);
    format!(
        "  {} {}  {allowed} of {cells} cells allowed{unsupported} · {}\n",
        badge(Status::Passed),
        "no policy".bold(),
        timing.dimmed()
    )
}

/// A step with its matrix.
pub fn step(step: &StepReport) -> String {
    let mut out = format!("  {} {}  {}\n", badge(step.status), step.name.bold(), timing(step).dimmed());
    out.push_str(&matrix::draw(step));
    for line in watched(step) {
        _ = writeln!(out, "    {line}");
    }
    for problem in &step.problems {
        _ = writeln!(out, "    {} {}", badge(problem.status), problem.what);
    }
    out
}

/// The last lines of a case.
pub fn closing(case: &CaseReport) -> String {
    let mut out = String::new();
    for problem in &case.problems {
        _ = writeln!(out, "  {} {problem}", "!".red().bold());
    }
    if case.status > Status::Passed {
        let namespaces: Vec<_> = case.namespaces.values().map(String::as_str).collect();
        _ = writeln!(out, "  rules {}; namespaces {}", join(case.rules.iter()), namespaces.join(", "));
        _ = writeln!(out, "  again: {}", case.replay);
    }
    _ = writeln!(out, "  {} {}", badge(case.status), word(case.status));
    out
}

/// What it all comes to.
pub fn summary(report: &Report) -> String {
    let count = |status| report.cases.iter().filter(|case| case.status == status).count();
    let (passed, failed, unmeasured) = (count(Status::Passed), count(Status::Failed), count(Status::NotMeasured));
    let beside = [(Status::Reported, "reported"), (Status::Skipped, "skipped")];
    let beside = beside.map(|(status, word)| match count(status) {
        0 => String::new(),
        some => format!(", {some} {word}"),
    });
    let beside = beside.concat();
    let controls = report.cases.iter().filter_map(|case| case.control.as_ref());
    let unsupported: usize = controls.map(|control| control.unsupported.len()).sum();
    let mut out = String::from("\n");
    let steps = || report.cases.iter().flat_map(|case| &case.steps);
    let cells: usize = steps().map(|step| step.cells.iter().filter(|cell| cell.asserted).count()).sum();
    let rounds: u32 = steps().map(|step| step.rounds).sum();
    let discarded: u32 = steps().map(|step| step.discarded).sum();
    let losses: u32 = steps().map(|step| step.losses).sum();
    for case in report.cases.iter().filter(|case| case.status > Status::Passed) {
        _ = writeln!(out, "{} {}: {}", badge(case.status), case.id, word(case.status));
    }
    _ = writeln!(
        out,
        "{} cases: {passed} passed, {failed} failed, {unmeasured} not measured{beside} · {} steps, {cells} cells asserted ({})",
        report.cases.len(),
        steps().count(),
        report.profile
    );
    if unsupported > 0 {
        _ = writeln!(out, "{unsupported} cells unsupported: this network does not carry them even without a policy");
    }
    let mut enforced: Vec<f64> = steps().flat_map(|step| step.canary_ms.values().copied()).collect();
    enforced.sort_by(f64::total_cmp);
    if let (Some(median), Some(slowest)) = (enforced.get(enforced.len() / 2), enforced.last()) {
        _ = write!(out, "enforced after {median:.1} ms (median; slowest {slowest:.1} ms) · ");
    }
    _ = writeln!(
        out,
        "{rounds} rounds, {discarded} discarded, {losses} single losses · {:.1} s",
        report.wall_ms as f64 / 1000.0
    );
    _ = writeln!(out, "{}", LEGEND.dimmed());
    if report.enforced == Some(false) {
        _ = writeln!(out, "{}", unenforced(report).red().bold());
    }
    out
}

/// The sentence for a cluster on which policies do nothing (N65).
fn unenforced(report: &Report) -> String {
    let plugin = match &report.plugin {
        Some(plugin) => format!("the network plugin is {plugin}"),
        None => "no network plugin that we know was found".to_owned(),
    };
    format!(
        "NetworkPolicies are accepted here and not enforced: every one was created without an error and changed nothing ({plugin})."
    )
}

fn timing(step: &StepReport) -> String {
    let canary = step.canary_ms.values().copied().reduce(f64::max).map(|slowest| format!("canary {slowest:.1} ms · "));
    let agreed = match step.agreed_after_ms {
        Some(after) => format!("agreed after {after:.0} ms"),
        None => "never agreed".into(),
    };
    let (canary, rounds) = (canary.unwrap_or_default(), step.rounds);
    format!("{canary}{agreed} · settled {:.0} ms in {rounds} rounds", step.settled_ms)
}

/// A line per held connection and followed log.
pub(super) fn watched(step: &StepReport) -> impl Iterator<Item = String> {
    step.held.iter().map(held_line).chain(step.logs.iter().map(log_line))
}

fn held_line(held: &HeldReport) -> String {
    let HeldReport { name, connection, observed, heartbeats, unanswered, longest_gap_ms, .. } = held;
    format!(
        "{} connection {name} ({connection}) {observed}: {heartbeats} heartbeats back, {unanswered} under way, longest silence {longest_gap_ms:.0} ms{}",
        badge(held.status),
        asserted(held.asserted)
    )
}

fn log_line(log: &LogReport) -> String {
    let LogReport { pod, expected, lines, longest_gap_ms, .. } = log;
    let since_it_began = matches!(expected.as_str(), "heard" | "silent");
    let which = if since_it_began { "lines since it began" } else { "new lines" };
    let gap = longest_gap_ms.map(|gap| format!(", longest gap {gap:.0} ms")).unwrap_or_default();
    format!("{} log of {pod} {expected}: {lines} {which}{gap}{}", badge(log.status), asserted(log.asserted))
}

fn asserted(asserted: bool) -> &'static str {
    if asserted { "" } else { " (noted, not asserted)" }
}

pub(super) fn badge(status: Status) -> String {
    match status {
        Status::Passed => "✓".green().to_string(),
        Status::Reported | Status::Skipped => "·".dimmed().to_string(),
        Status::Failed => "✗".red().bold().to_string(),
        Status::NotMeasured => "?".yellow().bold().to_string(),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Skipped => "skipped",
        Status::Reported => "reported: this profile asserts nothing of it",
        Status::Failed => "FAILED",
        Status::NotMeasured => "NOT MEASURED",
    }
}

fn join<'a>(rules: impl Iterator<Item = &'a String>) -> String {
    rules.map(String::as_str).collect::<Vec<_>>().join(", ")
}
