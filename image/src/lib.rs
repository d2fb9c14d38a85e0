//! Writes netpol's container image from its own executable: FROM scratch, without an engine or a builder.
//!
//! ```text
//! executable ─► inspected (static? for this platform?) ─► layer ─► configuration, manifest, index ─► archive ─► file
//! ```
//!
//! The archive is an OCI image layout and a docker-archive in one, so that `docker load`, `podman load`, `ctr images
//! import` and with it `kind load image-archive` all take it. Equal executables give equal archives, byte by byte.

use std::process::ExitCode;

mod archive;
mod build;
mod cli;
mod error;
mod executable;
mod layer;
mod output;
mod platform;

pub use build::{Built, build};
pub use cli::{BuildArgs, ImageArgs, ImageCommand, Label};
pub use error::ImageError;
pub use platform::{Platform, UnknownPlatform};

/// Runs `netpol image …`: one line on stdout about what was written. Exit codes: 0; 2 for an executable that cannot be
/// used or an output that cannot be meant; 3 where a file cannot be read or written.
///
/// # Errors
/// None at present: what goes wrong is printed, and told by the exit code.
pub fn run(args: ImageArgs) -> anyhow::Result<ExitCode> {
    let ImageCommand::Build(args) = args.command;
    match build(&args) {
        Ok(built) => {
            println!("{built}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("netpol image build: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
