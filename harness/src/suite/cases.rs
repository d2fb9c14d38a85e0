//! One file: all its cases, or all that is wrong with it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::convert::{Converted, convert};
use super::outline;
use super::parameters::{combinations, substitute, suffix};
use super::rehearse::{Verdicts, rehearse};
use crate::Problem;
use crate::decode::Report;
use crate::plan::{Case, Topology};

/// Reads the suite `text` of `file` (`area/name.yaml`).
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn cases(
    file: &str,
    text: &str,
    topologies: &BTreeMap<String, Topology>,
) -> Result<Vec<Case>, Vec<Problem>> {
    let mut report = Report::new(file);
    let cases = read(file, text, topologies, &mut report);
    report.finish(text).map_or(Ok(cases), Err)
}

fn read(file: &str, text: &str, topologies: &BTreeMap<String, Topology>, report: &mut Report) -> Vec<Case> {
    let parsed: serde_yaml::Value = match serde_yaml::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.not_yaml(&error);
            return Vec::new();
        }
    };
    let Some(document) = report.json(&parsed) else { return Vec::new() };
    let Some(outline) = report.decode::<outline::Suite>(&document, "") else { return Vec::new() };
    check_head(file, &outline, report);
    let combinations = combinations(outline.parameters.as_ref(), report);
    let mut converted: Vec<(Converted, Verdicts)> = Vec::new();
    for combination in &combinations {
        // The same problem in every combination is told once, by Problems.
        let document = substitute(&document, combination, report);
        let Ok(outline) = serde_json::from_value::<outline::Suite>(document) else { continue };
        let id = format!("{}{}", file.trim_end_matches(".yaml"), suffix(combination));
        let mut own = Report::new(file);
        let case = convert(id, file, &outline, topologies, &mut own);
        if let (true, Some(case)) = (own.is_empty(), case) {
            let verdicts = topologies.get(&case.case.topology).map(|topology| rehearse(&case, topology, &mut own));
            converted.push((case, verdicts.unwrap_or_default()));
        }
        report.absorb(own);
    }
    if let [(_, first), others @ ..] = converted.as_slice()
        && !others.is_empty()
        && report.is_empty()
        && others.iter().all(|(_, verdicts)| verdicts == first)
    {
        let what = "all combinations of the parameters compute the same matrices".to_owned();
        report.add("parameters", what, "use the parameters where they make a difference, or take them away");
    }
    converted.into_iter().map(|(converted, _)| converted.case).collect()
}

/// `apiVersion`, `kind`, and the name, which is the file's.
fn check_head(file: &str, suite: &outline::Suite, report: &mut Report) {
    for (key, value, wanted) in
        [("apiVersion", &suite.api_version, outline::API_VERSION), ("kind", &suite.kind, "Suite")]
    {
        if value.as_ref().and_then(Value::as_str) != Some(wanted) {
            let path = if value.is_some() { key } else { "" };
            report.add(path, format!("'{key}' is not '{wanted}'"), &format!("write {key}: {wanted}"));
        }
    }
    let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if Path::new(file).extension().is_some_and(|extension| extension != "yaml") {
        report.add("", "a suite's file ends in .yaml".to_owned(), "rename the file");
    }
    let Some(metadata) = &suite.metadata else {
        report.add("", "the key 'metadata' is missing".to_owned(), &format!("write metadata: {{name: {stem}}}"));
        return;
    };
    let Some(metadata) = report.decode::<outline::Metadata>(metadata, "metadata") else { return };
    if metadata.name != stem {
        let what = format!("the suite is named '{}' and its file '{stem}'", metadata.name);
        report.add("metadata.name", what, "give both the same name");
    }
}
