//! The cases that were asked for.

use globset::{GlobBuilder, GlobMatcher};

use super::{Case, Plan};
use crate::suite::Loaded;
use crate::{Problem, Problems};

/// What was asked for, by globs on `area/name` and by ids; everything where there is neither. `*` does not cross `/`.
#[derive(Debug, Clone)]
pub struct Selection(Vec<(String, Option<GlobMatcher>)>);

impl Selection {
    /// Reads patterns.
    ///
    /// # Errors
    /// Those that are not globs.
    pub fn parse(patterns: &[String]) -> Result<Self, Problems> {
        let (mut globs, mut problems): (Vec<(String, Option<GlobMatcher>)>, _) = (Vec::new(), Vec::new());
        for pattern in patterns {
            // `a/b[range=begins-before]` is an id; as a glob it would have a range that is none.
            if pattern.ends_with(']') && pattern.contains('=') {
                globs.push((pattern.clone(), None));
                continue;
            }
            match GlobBuilder::new(pattern).literal_separator(true).build() {
                Ok(glob) => globs.push((pattern.clone(), Some(glob.compile_matcher()))),
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
        if problems.is_empty() { Ok(Self(globs)) } else { Err(Problems::of(problems)) }
    }

    /// Whether a case is wanted: its id without parameters (`area/name`) matches a glob, or with them is a pattern letter by letter.
    pub fn wants(&self, id: &str) -> bool {
        let name = without_parameters(id);
        let matches = |glob: &Option<GlobMatcher>| glob.as_ref().is_some_and(|glob| glob.is_match(name));
        self.0.is_empty() || self.0.iter().any(|(pattern, glob)| pattern == id || matches(glob))
    }

    /// Whether any case of the suite `area/name` may be wanted.
    pub fn may_want(&self, suite: &str) -> bool {
        self.wants(suite) || self.0.iter().any(|(pattern, _)| without_parameters(pattern) == suite)
    }
}

fn without_parameters(id: &str) -> &str {
    id.split('[').next().unwrap_or_default()
}

/// The cases that were asked for. That nothing matches is no error here: the plan is empty.
pub fn plan(loaded: &Loaded, selection: &Selection) -> Plan {
    let cases: Vec<Case> = loaded.cases.iter().filter(|case| selection.wants(&case.id)).cloned().collect();
    let used = loaded.topologies.iter().filter(|(name, _)| cases.iter().any(|case| case.topology == **name));
    Plan { topologies: used.map(|(name, topology)| (name.clone(), topology.clone())).collect(), cases }
}
