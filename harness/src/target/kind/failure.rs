//! Why a cluster does not stand.

use std::path::PathBuf;

use thiserror::Error;

use super::archive::ArchiveError;
use super::download::DownloadError;
use super::engine::EngineError;
use super::manifest::ManifestError;
use super::place::PlaceError;
use super::ready::NotReady;
use super::tool::CommandFailed;
use crate::cluster::ClusterError;

/// Lines of a command's words that are shown with its failure.
pub(super) const SHOWN: usize = 20;

/// Why a cluster does not stand.
#[derive(Debug, Error)]
pub(super) enum BootError {
    /// kind or its engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A command of theirs.
    #[error("{failed}:\n{}", failed.last_lines(SHOWN))]
    Command {
        /// The command.
        failed: CommandFailed,
    },
    /// The CNI's manifest was not had.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It was not applied.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Our own image.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Our own files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file that was named cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A cluster of this name is there, and must not be touched.
    #[error("nodes already exist for a cluster with the name {name}: {why}")]
    NameTaken {
        /// The name.
        name: String,
        /// Why it is not used.
        why: &'static str,
    },
    /// The cluster cannot be talked to.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The API server said no, or nothing.
    #[error("the cluster's API server: {0}")]
    Api(Box<kube::Error>),
    /// Something did not become ready.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The embedded kind configuration is broken: a bug of ours.
    #[error("kind-config.yaml: {0}")]
    Config(#[from] serde_yaml::Error),
}

impl From<CommandFailed> for BootError {
    fn from(failed: CommandFailed) -> Self {
        BootError::Command { failed }
    }
}

impl From<kube::Error> for BootError {
    fn from(error: kube::Error) -> Self {
        BootError::Api(Box::new(error))
    }
}
