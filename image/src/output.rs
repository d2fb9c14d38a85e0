//! The archive's file: there as a whole, or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::Builder;

use crate::ImageError;

/// Readable by everybody, as a file that is made by a shell's redirection: nothing in it is secret.
const MODE: u32 = 0o644;

/// Refuses what cannot become a file, before the work is done.
///
/// # Errors
/// A missing folder; an output that is a folder.
pub(crate) fn check(output: &Path) -> Result<(), ImageError> {
    let refused = |problem| Err(ImageError::Output { output: output.to_owned(), problem });
    if output.is_dir() {
        return refused("it is a folder; give the name of a file in it");
    }
    if output.file_name().is_none() {
        return refused("it names no file; give --output FILE.tar");
    }
    if !folder(output).is_dir() {
        return refused("its folder does not exist; create it, or choose another --output");
    }
    Ok(())
}

/// Writes a file beside the output, which then takes its place. What fails leaves neither behind.
///
/// # Errors
/// What the operating system says: no permission, no room.
pub(crate) fn write(output: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let written = || -> io::Result<()> {
        let mut file = Builder::new()
            .prefix(".netpol-image-")
            .suffix(".tar")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder(output))?;
        file.write_all(bytes)?;
        file.persist(output).map_err(|refused| refused.error)?;
        Ok(())
    };
    written().map_err(|source| ImageError::File { action: "write", path: output.to_owned(), source })
}

/// Where the output is to be; the current folder for a bare name.
fn folder(output: &Path) -> &Path {
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
