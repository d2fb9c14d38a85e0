//! The cases that were asked for.

use globset::{GlobBuilder, GlobMatcher};

use super::{Case, Plan};
use crate::suite::Loaded;
use crate::{Problem, Problems};

/// The cases whose id matches any of the globs, without parameters (`area/name`) or with them, letter by letter; all of them
/// where there is no pattern. `*` does not cross `/`.
///
/// # Errors
/// Patterns that are not globs. That nothing matches is no error here: the plan is empty.
pub fn plan(loaded: &Loaded, patterns: &[String]) -> Result<Plan, Problems> {
    let (mut globs, mut problems): (Vec<(String, GlobMatcher)>, _) = (Vec::new(), Vec::new());
    for pattern in patterns {
        match GlobBuilder::new(pattern).literal_separator(true).build() {
            Ok(glob) => globs.push((pattern.clone(), glob.compile_matcher())),
            Err(error) => problems.push(Problem {
                file: "PATTERN".to_owned(),
                line: None,
                column: None,
                path: None,
                what: format!("'{pattern}' is not a glob: {}", error.kind()),
                remedy: "write a glob on area/name, such as 'walkthrough/*'".to_owned(),
            }),
        }
    }
    if !problems.is_empty() {
        return Err(Problems::of(problems));
    }
    let wanted = |case: &&Case| {
        let name = case.id.split('[').next().unwrap_or_default();
        globs.is_empty() || globs.iter().any(|(pattern, glob)| *pattern == case.id || glob.is_match(name))
    };
    let cases: Vec<Case> = loaded.cases.iter().filter(wanted).cloned().collect();
    let used = loaded.topologies.iter().filter(|(name, _)| cases.iter().any(|case| case.topology == **name));
    Ok(Plan { topologies: used.map(|(name, topology)| (name.clone(), topology.clone())).collect(), cases })
}
