//! Suites as people write them: read, checked, and turned into cases.
//!
//! Strict decoding, parameters, conversion, and a rehearsal against the oracle; everything that is wrong with any file comes in
//! one answer, with its place.

mod cases;
mod cells;
mod convert;
mod index;
mod names;
mod object;
mod outline;
mod parameters;
mod rehearse;
mod source;
mod step;

use std::collections::BTreeMap;

use crate::plan::{Case, Topology};
use crate::{Problems, topology};

pub use index::{index, rules, uncovered};
pub use outline::schema;
pub use source::Source;

/// All suites of a source, checked, with every combination of their parameters.
#[derive(Debug)]
pub struct Loaded {
    /// In the order of their ids.
    pub cases: Vec<Case>,
    /// By name.
    pub topologies: BTreeMap<String, Topology>,
}

/// Reads and checks all suites of `source`.
///
/// # Errors
/// Everything that is wrong in all files, at once.
pub fn load(source: &Source) -> Result<Loaded, Problems> {
    load_some(source, |_| true)
}

/// The same of the suites whose `area/name` is wanted; the others are not looked at.
///
/// # Errors
/// Everything that is wrong in the wanted files, at once.
pub fn load_some(source: &Source, wanted: impl Fn(&str) -> bool) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let topologies = topology::embedded().unwrap_or_else(|found| {
        problems.extend(found);
        BTreeMap::new()
    });
    let (files, unreadable) = source.read();
    problems.extend(unreadable);
    let mut loaded: Vec<Case> = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| wanted(file.rsplit_once('.').map_or(file, |(name, _)| name))) {
        match cases::cases(file, text, &topologies) {
            Ok(cases) => loaded.extend(cases),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(Problems::of(problems));
    }
    loaded.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Loaded { cases: loaded, topologies })
}
