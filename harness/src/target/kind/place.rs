//! Where the files of a kind cluster are: never the user's kubeconfig, and one netpol at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the cluster's folder is of no use.
#[derive(Debug, Error)]
pub(super) enum PlaceError {
    /// Another netpol boots or uses this cluster.
    #[error("cluster {name} is in use by another netpol, which holds {}", lock.display())]
    InUse {
        /// The cluster.
        name: String,
        /// The locked file.
        lock: PathBuf,
    },
    /// A file could not be written or removed.
    #[error("{} cannot be used: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// The folder of one cluster, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    failures: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Place {
    /// Makes and locks the folder of cluster `name` below `root`.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub(super) fn take(root: &Path, name: &str) -> Result<Self, PlaceError> {
        let folder = root.join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| PlaceError::Io { path, cause }
        };
        fs::create_dir_all(root).map_err(failed(root))?;
        // Beside the folder, which goes with the cluster.
        let lock = root.join(format!("{name}.lock"));
        loop {
            let held = File::create(&lock).map_err(failed(&lock))?;
            match held.try_lock() {
                // Whoever held it before may have removed it since it was opened here: a lock that nobody finds locks nobody out.
                Ok(()) if is_at(&held, &lock) => {
                    fs::create_dir_all(&folder).map_err(failed(&folder))?;
                    return Ok(Place { folder, failures: root.join("failures"), lock, _held: held });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(PlaceError::InUse { name: name.to_owned(), lock }),
                Err(TryLockError::Error(cause)) => return Err(failed(&lock)(cause)),
            }
        }
    }

    /// The cluster's own kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A file of the cluster.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of the cluster.
    ///
    /// # Errors
    /// [`PlaceError::Io`]
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, PlaceError> {
        let path = self.file(name);
        fs::write(&path, text).map_err(|cause| PlaceError::Io { path: path.clone(), cause })?;
        Ok(path)
    }

    /// Notes that what has this cluster's name was begun by us: what a killed netpol left half-made may then be deleted.
    ///
    /// # Errors
    /// [`PlaceError::Io`]
    pub(super) fn mark(&self) -> Result<(), PlaceError> {
        self.write("made-by-netpol", "").map(drop)
    }

    /// Takes the note back: nothing was begun after all.
    pub(super) fn unmark(&self) {
        fs::remove_file(self.file("made-by-netpol")).ok();
    }

    /// Whether [`Place::mark`] was called, perhaps by a netpol that is gone.
    pub(super) fn is_marked(&self) -> bool {
        self.file("made-by-netpol").exists()
    }

    /// Where evidence of a failure goes; it stays when the cluster goes.
    pub(super) fn evidence(&self, at: &str) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        self.failures.join(format!("{name}-{at}"))
    }

    /// Removes the folder, and the lock, which is held for as long as this lives.
    pub(super) fn clear(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder).and_then(|()| fs::remove_file(&self.lock)) {
            tracing::debug!(%error, folder = %self.folder.display(), "removing a cluster's files");
        }
    }
}

/// Whether this open file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}

/// `$XDG_STATE_HOME/netpol/kind`, or where that is by default.
pub(super) fn state_root() -> PathBuf {
    below("XDG_STATE_HOME", ".local/state").join("netpol/kind")
}

/// `$XDG_CACHE_HOME/netpol/manifests`, or where that is by default.
pub(super) fn cache_root() -> PathBuf {
    below("XDG_CACHE_HOME", ".cache").join("netpol/manifests")
}

/// The XDG base directory specification: variables with relative paths are ignored.
fn below(variable: &str, default: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = || std::env::temp_dir().join(format!("netpol-{}", rustix::process::getuid().as_raw()));
    set(variable).or_else(|| set("HOME").map(|home| home.join(default))).unwrap_or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_belongs_to_one_netpol_at_a_time() {
        let root = std::env::temp_dir().join(format!("netpol-place-{}", std::process::id()));
        let first = Place::take(&root, "a").unwrap();
        assert!(matches!(Place::take(&root, "a"), Err(PlaceError::InUse { name, .. }) if name == "a"));
        Place::take(&root, "b").unwrap();
        first.mark().unwrap();
        assert!(first.is_marked());
        first.clear();
        drop(first);
        assert!(!root.join("a.lock").exists());
        assert!(!Place::take(&root, "a").unwrap().is_marked());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_lock_that_was_removed_locks_nobody_out() {
        let root = std::env::temp_dir().join(format!("netpol-lock-{}", std::process::id()));
        let first = Place::take(&root, "a").unwrap();
        // Opened while it was the lock, and locked when it is not any more.
        let late = File::create(root.join("a.lock")).unwrap();
        assert!(is_at(&late, &first.lock));
        first.clear();
        drop(first);
        late.try_lock().unwrap();
        assert!(!is_at(&late, &root.join("a.lock")));
        let second = Place::take(&root, "a").unwrap();
        assert!(!is_at(&late, &second.lock));
        fs::remove_dir_all(root).unwrap();
    }
}
