//! What of a case's report is not as expected, in words that stay the same from run to run.

use serde_json::Value;

/// The positive control's words for a cluster that is closed before the first policy.
const CONTROL: &str = "although no policy is there (N1)";

/// All findings of a case that say something about the engine, in the order of its steps. What could not be measured says
/// nothing, except that nothing passes without a policy.
pub(crate) fn findings(case: &Value) -> Vec<String> {
    let control = texts(&case["problems"]).any(|problem| problem.contains(CONTROL));
    let control = control.then(|| format!("something is closed {CONTROL}"));
    control.into_iter().chain(list(&case["steps"]).flat_map(of_step)).collect()
}

/// How many steps of a case failed, and how many it has.
pub(crate) fn steps(case: &Value) -> (usize, usize) {
    (list(&case["steps"]).filter(|step| step["status"] == "failed").count(), list(&case["steps"]).count())
}

/// How many cells the case's steps measured.
pub(crate) fn cells(case: &Value) -> usize {
    list(&case["steps"]).map(|step| list(&step["cells"]).count()).sum()
}

fn of_step(step: &Value) -> Vec<String> {
    let name = text(&step["name"]);
    let failed = |list_of: &str| -> Vec<&Value> {
        let asserted = |one: &&Value| one["asserted"] == true && one["status"] == "failed";
        list(&step[list_of]).filter(asserted).collect()
    };
    let cells = failed("cells").into_iter().map(|cell| {
        let [from, to, probe, expected] = ["from", "to", "probe", "expected"].map(|key| text(&cell[key]));
        format!("{name}: {from} → {to} {probe} is not {expected}")
    });
    let held = failed("held")
        .into_iter()
        .map(|held| format!("{name}: {} is {}", text(&held["name"]), text(&held["observed"])));
    let logs = failed("logs").into_iter().map(|log| {
        format!("{name}: the log of {} is expected to be one that {}", text(&log["pod"]), text(&log["expected"]))
    });
    let problems = list(&step["problems"]).filter(|problem| problem["status"] == "failed");
    let problems = problems.map(|problem| format!("{name}: {}", text(&problem["what"])));
    cells.chain(held).chain(logs).chain(problems).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    list(value).map(text)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
