//! A plan in words.

use std::fmt::Write;

use super::{Declared, Plan, cells};

/// The plan in words, for `--plan`: cases, steps, and how many cells each has.
pub fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    let (mut steps, mut total) = (0, 0);
    for case in &plan.cases {
        let count = plan.topologies.get(&case.topology).map_or(0, |topology| cells(case, topology).len());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", case.id, case.description);
        let _ = writeln!(text, "  topology {}, {count} cells a step", case.topology);
        for (index, step) in case.steps.iter().enumerate() {
            let expected = match &step.declared {
                Declared::Deny(denied) if denied.is_empty() => "all allowed".to_owned(),
                Declared::Deny(denied) => format!("{} denied", denied.len()),
                Declared::Allow(allowed) if allowed.is_empty() => "all denied".to_owned(),
                Declared::Allow(allowed) => format!("{} allowed", allowed.len()),
            };
            let _ = writeln!(text, "  {}. {}: {expected}", index + 1, step.name);
            total += count;
        }
        steps += case.steps.len();
    }
    let _ = writeln!(text, "{} cases, {steps} steps, {total} cells", plan.cases.len());
    text
}
