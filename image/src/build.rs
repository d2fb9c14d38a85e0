//! `netpol image build`, step by step.

use std::fmt;
use std::path::PathBuf;

use oci_spec::image::Digest;

use crate::archive::Image;
use crate::{BuildArgs, ImageError, Platform, executable, layer, output};

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The archive.
    pub path: PathBuf,
    /// The archive's size in bytes, which is nearly the image's: its layer is not compressed.
    pub size: u64,
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// The image's full name.
    pub name: String,
    /// What it is for.
    pub platform: Platform,
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, digest, name, platform } = self;
        let megabytes = *size as f64 / 1e6;
        write!(f, "{}: {name} for {platform}, {megabytes:.1} MB, {digest}", path.display())
    }
}

/// Writes the image.
///
/// # Errors
/// An executable that is not static or for another platform; a file that cannot be read or written. Then nothing is
/// left behind, and an archive that was there before is as it was.
pub fn build(args: &BuildArgs) -> Result<Built, ImageError> {
    let BuildArgs { output, name, executable, platform, labels } = args;
    output::check(output)?;
    let path = match executable {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|source| ImageError::File {
            action: "find the executable that runs, by",
            path: "/proc/self/exe".into(),
            source,
        })?,
    };
    let executable = executable::read(&path, *platform)?;
    let layer = layer::layer(&executable).map_err(oci_spec::OciSpecError::Io)?;
    let archive = Image { layer, name, platform: *platform, labels }.archive()?;
    output::write(output, &archive.bytes)?;
    Ok(Built {
        path: output.clone(),
        size: archive.bytes.len() as u64,
        digest: archive.digest,
        name: name.whole(),
        platform: *platform,
    })
}
