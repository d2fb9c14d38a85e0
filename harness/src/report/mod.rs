//! Reports: for people on a terminal, and for machines.

mod folder;
mod junit;
pub mod matrix;
mod model;
mod overview;
pub mod terminal;

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;

pub use folder::write;
pub use junit::junit;
pub use model::*;
pub use overview::overview;

/// The JSON schema of [`Report`].
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Report)
}

/// Writes a report as JSON, piece by piece: that of the whole catalogue has tens of megabytes.
///
/// # Errors
/// Those of the writer.
pub fn write_json(report: &Report, to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, report)?;
    writeln!(to)?;
    to.flush()
}

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
