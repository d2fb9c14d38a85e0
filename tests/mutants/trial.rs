//! A run of some cases under one mutant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{NETPOL, run};

/// A mutant, as the example lists it.
#[derive(Deserialize)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) breaks: String,
    pub(crate) does: String,
    pub(crate) seen_by: Option<String>,
}

/// Every mutant, in the example's order.
pub(crate) fn list() -> Vec<Mutant> {
    let listed = Command::new(broken_enforcer()).arg("--list").output().unwrap();
    serde_json::from_slice(&listed.stdout).unwrap()
}

fn broken_enforcer() -> PathBuf {
    let example = Path::new(NETPOL).parent().unwrap().join("examples/broken_enforcer");
    assert!(example.exists(), "{} is not built: cargo build --example broken_enforcer", example.display());
    example
}

/// What `netpol run` found.
pub(crate) struct Trial {
    pub(crate) output: Output,
    /// Null if it never came to one.
    report: Value,
}

impl Trial {
    /// Runs cases, all of them if there is no pattern, in a lab whose enforcers are this mutant.
    pub(crate) fn run(mutant: &str, patterns: &[&str], flags: &[&str]) -> Self {
        let command = format!(
            "command:'{}' --mutant {mutant} --kubeconfig {{kubeconfig}} --node {{node}}",
            broken_enforcer().display()
        );
        let fixed = ["--enforcer", &command, "--output", "json"];
        let output = run(&[patterns, &fixed, flags].concat());
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Self { output, report }
    }

    /// Runs one case, from a folder that has its suite alone: the others need not be read and rehearsed.
    pub(crate) fn run_one(mutant: &str, case: &str) -> Self {
        let suite = format!("{}.yaml", case.split('[').next().unwrap_or(case));
        let folder: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "mutants", mutant].iter().collect();
        fs::create_dir_all(folder.join(&suite).parent().unwrap()).unwrap();
        let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "suites", &suite].iter().collect();
        fs::copy(&source, folder.join(&suite)).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let trial = Self::run(mutant, &[case], &["--hold", "0s", "--suites", &folder.to_string_lossy()]);
        fs::remove_dir_all(folder).unwrap();
        trial
    }

    /// The reports of its cases.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &Value> {
        self.report["cases"].as_array().into_iter().flatten()
    }
}
