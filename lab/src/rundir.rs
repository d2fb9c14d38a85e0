//! The run's directory on the host: it holds the kubeconfig, and the mount point of the lab's private files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::RunId;

/// Paths of a run. Whoever of the lab's processes ends last removes them, so each of them tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// Makes `netpol-lab-<run>` (mode 0700) in `$XDG_RUNTIME_DIR`, or in the temporary directory where that is not set
    /// or not writable.
    pub(crate) fn create(run: &RunId) -> io::Result<RunDir> {
        let name = format!("netpol-lab-{}", run.as_str());
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let mut tried = Err(io::Error::from(io::ErrorKind::NotFound));
        for base in runtime.into_iter().chain([std::env::temp_dir()]) {
            let dir = RunDir(base.join(&name));
            tried = DirBuilder::new().mode(0o700).create(&dir.0).and_then(|()| {
                DirBuilder::new().mode(0o700).create(dir.private())?;
                Ok(dir.clone())
            });
            match &tried {
                Ok(_) => break,
                // Somebody else's run: trying the next place would hide that the id is taken.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let message = format!("{} exists already: is a lab with this run id up?", dir.0.display());
                    return Err(io::Error::new(error.kind(), message));
                }
                Err(error) => {
                    let message = format!("cannot make {}: {error}", dir.0.display());
                    tried = Err(io::Error::new(error.kind(), message));
                }
            }
        }
        tried
    }

    /// The kubeconfig for the host.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// Where the lab mounts its private file system; empty as seen from the host.
    pub(crate) fn private(&self) -> PathBuf {
        self.0.join("private")
    }

    /// First in the PATH of pods.
    pub(crate) fn bin(&self) -> PathBuf {
        self.private().join("bin")
    }

    /// A directory that the stage has made.
    pub(crate) fn made(path: PathBuf) -> RunDir {
        RunDir(path)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it from within the lab's mount namespace, where a file system of the lab covers a part of it.
    pub(crate) fn remove_within_lab(&self) -> io::Result<()> {
        // It fails where nothing was mounted yet, and then there is nothing to uncover.
        let _ = rustix::mount::unmount(self.private(), rustix::mount::UnmountFlags::DETACH);
        self.remove()
    }

    /// Removes it. Not finding it is success: another process of the lab was faster.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for attempt in [fs::remove_file(self.kubeconfig()), fs::remove_dir(self.private()), fs::remove_dir(&self.0)] {
            match attempt {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
