//! What can be wrong with an executable or an output, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::Platform;

/// Why no image was written. Nothing is left behind in any case.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The executable cannot run in an image that holds nothing else.
    #[error(
        "{} needs {needs}, which an image made FROM scratch does not have.\n{}",
        executable.display(), platform.how_to_build()
    )]
    NotStatic {
        /// What was looked at.
        executable: PathBuf,
        /// The program interpreter, or the first shared library.
        needs: String,
        /// What the image was to be for.
        platform: Platform,
    },

    /// The executable is for another system or architecture than the image.
    #[error(
        "{} is {found}, and the image is for {platform}: choose another --platform, or another --executable.\n{}",
        executable.display(), platform.how_to_build()
    )]
    OtherPlatform {
        /// What was looked at.
        executable: PathBuf,
        /// What it is instead.
        found: String,
        /// What the image was to be for.
        platform: Platform,
    },

    /// The folder of the output is missing, or the output is a folder itself.
    #[error("cannot write {}: {problem}", output.display())]
    Output {
        /// Where the archive was to be.
        output: PathBuf,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },

    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// In the infinitive.
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A document of the image could not be put together.
    #[error("cannot describe the image: {0}")]
    Document(#[from] oci_spec::OciSpecError),
}

impl ImageError {
    /// 2: bad input; 3: the environment failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotStatic { .. } | Self::OtherPlatform { .. } | Self::Output { .. } => 2,
            Self::File { .. } | Self::Document(_) => 3,
        }
    }
}
