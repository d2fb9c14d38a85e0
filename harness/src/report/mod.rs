//! Reports: for people on a terminal, and for machines.

pub mod matrix;
mod model;
pub mod terminal;

use std::path::Path;

use anyhow::Context;

pub use model::*;

/// Makes the folder for a report if it is not there, and sees that something can be written into it: better before a run than after it.
///
/// # Errors
/// When it cannot.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the report's folder {}", folder.display()))?;
    let probe = folder.join(format!(".netpol-{}", std::process::id()));
    let written = std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe));
    written.with_context(|| format!("writing into the report's folder {}", folder.display()))
}

/// Writes `report.json` into a folder, which is made if it is not there.
///
/// # Errors
/// When the folder cannot be made or the file not be written.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the report's folder {}", folder.display()))?;
    let file = folder.join("report.json");
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
