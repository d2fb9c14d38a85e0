//! What `--report` writes: the whole report for machines, and for people a folder per case that did not pass.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{CaseReport, Report, Status, junit, write_json};

/// Writes `report.json`, `junit.xml`, and `cases/AREA_NAME/` for each case that did not pass: `matrix.txt`, `policies.yaml`, `pods.yaml`,
/// a log per container of the policy engine's pods, `NODE.nft` where the engine can show its kernel's rules, and `again.sh`, which runs just this case.
///
/// # Errors
/// When the folder cannot be made or a file not be written.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    make(folder)?;
    let file = folder.join("report.json");
    let written = fs::File::create(&file).and_then(|to| write_json(report, to));
    written.with_context(|| format!("writing {}", file.display()))?;
    put(&folder.join("junit.xml"), &junit::junit(report)?)?;
    for case in report.cases.iter().filter(|case| case.status > Status::Passed) {
        write_case(case, &folder.join("cases").join(file_name(case)))?;
    }
    Ok(())
}

fn write_case(case: &CaseReport, folder: &Path) -> anyhow::Result<()> {
    make(folder)?;
    put(&folder.join("matrix.txt"), &junit::words(case))?;
    put(&folder.join("again.sh"), &format!("#!/bin/sh\nexec {}\n", case.replay))?;
    let Some(evidence) = &case.evidence else { return Ok(()) };
    let policies = evidence.policies.iter().map(serde_yaml::to_string).collect::<Result<Vec<_>, _>>()?;
    put(&folder.join("policies.yaml"), &policies.join("---\n"))?;
    put(&folder.join("pods.yaml"), &serde_yaml::to_string(&evidence.pods)?)?;
    for (container, log) in &evidence.engine_logs {
        put(&folder.join(format!("{container}.log")), log)?;
    }
    for (node, held) in &evidence.kernels {
        put(&folder.join(format!("{node}.nft")), held)?;
    }
    if !evidence.missing.is_empty() {
        put(&folder.join("missing.txt"), &(evidence.missing.join("\n") + "\n"))?;
    }
    Ok(())
}

/// The case's id as the name of a folder; letters that shells or file systems take for something else become `_`.
fn file_name(case: &CaseReport) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-.=".contains(letter) { letter } else { '_' };
    let id: String = case.id.chars().map(plain).collect();
    let id = id.trim_end_matches('_').to_owned();
    if case.repetition == 1 { id } else { format!("{id}_{}", case.repetition) }
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the report's folder {}", folder.display()))
}

fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
