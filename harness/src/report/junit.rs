//! The report as JUnit's XML, which CI systems read: a suite per area, a test per case.

use std::time::Duration;

use anyhow::Context;
use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};

use super::{CaseReport, Report, Status, matrix, terminal};

/// The whole document.
///
/// # Errors
/// When it cannot be written as XML.
pub fn junit(report: &Report) -> anyhow::Result<String> {
    let mut document = JUnit::new("netpol");
    document.set_time(Duration::from_millis(report.wall_ms));
    let mut areas: Vec<TestSuite> = Vec::new();
    for case in &report.cases {
        let area = case.id.split('/').next().unwrap_or_default();
        if areas.last().is_none_or(|suite| suite.name.as_str() != area) {
            areas.push(TestSuite::new(area));
        }
        if let Some(suite) = areas.last_mut() {
            suite.add_test_case(test(case));
        }
    }
    document.add_test_suites(areas);
    document.to_string().context("writing junit.xml")
}

fn test(case: &CaseReport) -> TestCase {
    let mut status = match case.status {
        Status::Passed | Status::Reported => TestCaseStatus::success(),
        Status::Skipped => TestCaseStatus::skipped(),
        Status::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::NotMeasured => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if case.status != Status::Passed {
        status.set_message(case.problems.first().map_or_else(|| first_complaint(case), Clone::clone));
    }
    if case.status > Status::Passed {
        status.set_description(words(case));
    }
    let name = match case.repetition {
        1 => case.id.clone(),
        repetition => format!("{} #{repetition}", case.id),
    };
    let mut test = TestCase::new(name, status);
    test.set_classname(case.id.split('/').next().unwrap_or_default());
    test.set_time(Duration::from_millis(case.took_ms));
    test
}

fn first_complaint(case: &CaseReport) -> String {
    let step = case.steps.iter().find(|step| step.status > Status::Passed);
    step.map_or_else(|| case.description.clone(), |step| format!("step '{}' did not pass", step.name))
}

/// The problems, each step that did not pass with its matrix, connections and logs, and how to run the case again.
pub(super) fn words(case: &CaseReport) -> String {
    let mut text = format!("{}\n", case.description);
    text.extend(case.problems.iter().map(|problem| format!("{problem}\n")));
    for step in case.steps.iter().filter(|step| step.status > Status::Passed) {
        let drawn = anstream::adapter::strip_str(&matrix::draw(step)).to_string();
        text += &format!("step '{}'\n{drawn}", step.name);
        text.extend(terminal::watched(step).map(|line| format!("    {}\n", anstream::adapter::strip_str(&line))));
        text.extend(step.problems.iter().map(|problem| format!("    {}\n", problem.what)));
    }
    text + &format!("again: {}\n", case.replay)
}
