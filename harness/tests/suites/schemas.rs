//! The JSON schemas in `schemas/`, generated from the types.

use std::fs;
use std::path::Path;

use netpol_harness::{report, suite};

/// `UPDATE_SCHEMAS=1` writes them anew, to be read before they are committed.
#[test]
fn the_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    for (name, schema) in [("suite.json", suite::schema()), ("report.json", report::schema())] {
        let (file, fresh) = (folder.join(name), serde_json::to_string_pretty(&schema).unwrap() + "\n");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &fresh).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), fresh, "schemas/{name} is stale: UPDATE_SCHEMAS=1");
    }
}

#[test]
fn every_suite_names_its_schema() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../suites");
    let folders = fs::read_dir(suites).unwrap().map(|area| area.unwrap().path()).filter(|area| area.is_dir());
    for file in folders.flat_map(|area| fs::read_dir(area).unwrap()).map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, "# yaml-language-server: $schema=../../schemas/suite.json", "{}", file.display());
    }
}
