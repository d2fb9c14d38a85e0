//! The tree of files that a container with mounts sees: the host's, with the volumes at their places. It is built in a
//! mount namespace of its own, so that no mount point has to exist on the host and nothing of it is ever written there.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, openat, statvfs};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};

use crate::namespaces::Root;

/// Symbolic links that are followed on the way to a mount point, as in the kernel.
const LINKS: usize = 40;

/// Something at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Mount {
    /// A file or directory.
    pub(in super::super) source: PathBuf,
    /// An absolute path, as the container sees it.
    pub(in super::super) target: PathBuf,
    pub(in super::super) read_only: bool,
}

/// Builds the tree in the empty directory `at`. It blocks for about a millisecond.
pub(in super::super) fn build(at: &Path, mounts: &[Mount]) -> io::Result<Root> {
    Root::create(CString::new(at.as_os_str().as_bytes())?, || {
        let mut tree = Tree { at: at.to_owned(), own: BTreeSet::new() };
        tree.cover(at, Path::new("/"))?;
        for wanted in mounts {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot mount {}: {error}", wanted.target.display()))
            };
            tree.place(wanted).map_err(named)?;
        }
        Ok(())
    })
}

struct Tree {
    at: PathBuf,
    /// Directories that are ours, in which mount points can be made.
    own: BTreeSet<PathBuf>,
}

impl Tree {
    /// Puts an empty file system over `directory`, and everything of `like` into it.
    fn cover(&mut self, directory: &Path, like: &Path) -> io::Result<()> {
        let entries = fs::read_dir(like)?.collect::<io::Result<Vec<_>>>()?;
        mount("tmpfs", directory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
        self.own.insert(directory.to_owned());
        let within = |entry: &fs::DirEntry| self.at.starts_with(entry.path());
        // Our own place first: bound later, it would hold what is bound already, once more.
        let (first, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(within);
        for entry in first.into_iter().chain(rest) {
            let (from, to) = (entry.path(), directory.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(&from)?, &to)?;
                continue;
            }
            if kind.is_dir() {
                fs::create_dir(&to)?;
            } else {
                fs::File::create(&to)?;
            }
            mount_bind_recursive(&from, &to)?;
        }
        Ok(())
    }

    fn place(&mut self, wanted: &Mount) -> io::Result<()> {
        let is_directory = fs::metadata(&wanted.source)?.is_dir();
        let target = self.make(&wanted.target, is_directory)?;
        mount_bind(&wanted.source, &target)?;
        if wanted.read_only {
            let present = statvfs(&target)?.f_flag;
            let mut flags = MountFlags::BIND | MountFlags::RDONLY;
            // What the kernel has locked must be asked for again.
            for (is, flag) in [
                (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
                (StatVfsMountFlags::NODEV, MountFlags::NODEV),
                (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            ] {
                if present.contains(is) {
                    flags |= flag;
                }
            }
            mount_remount(&target, flags, c"")?;
        }
        Ok(())
    }

    /// The place of a path in the tree, with everything made that is missing on the way to it.
    fn make(&mut self, path: &Path, is_directory: bool) -> io::Result<PathBuf> {
        let mut left: Vec<Component<'_>> = path.components().collect();
        left.reverse();
        let mut left: Vec<PathBuf> = left.into_iter().map(|part| PathBuf::from(part.as_os_str())).collect();
        let (mut at, mut links) = (self.at.clone(), 0);
        while let Some(part) = left.pop() {
            match part.components().next() {
                Some(Component::RootDir) => at = self.at.clone(),
                Some(Component::ParentDir) if at != self.at => drop(at.pop()),
                Some(Component::Normal(name)) => {
                    let next = at.join(name);
                    match fs::symlink_metadata(&next) {
                        Ok(found) if found.is_symlink() => {
                            links += 1;
                            if links > LINKS {
                                return Err(io::Error::from(rustix::io::Errno::LOOP));
                            }
                            let to = fs::read_link(&next)?;
                            let mut parts: Vec<PathBuf> =
                                to.components().map(|part| PathBuf::from(part.as_os_str())).collect();
                            parts.reverse();
                            left.extend(parts);
                        }
                        Ok(_) => at = next,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            self.open_up(&at)?;
                            if left.is_empty() && !is_directory {
                                fs::File::create(&next)?;
                            } else {
                                fs::create_dir(&next)?;
                                self.own.insert(next.clone());
                            }
                            at = next;
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ => {}
            }
        }
        Ok(at)
    }

    /// Makes a directory of the host one in which mount points can be made.
    fn open_up(&mut self, directory: &Path) -> io::Result<()> {
        if self.own.contains(directory) {
            return Ok(());
        }
        let below = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // By descriptor, because its path will lead to what covers it.
        self.cover(directory, &PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd())))
    }
}
