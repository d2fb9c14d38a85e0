//! Linux namespaces and the system calls around them: the one place of the lab where `unsafe` is needed.
#![expect(
    unsafe_code,
    reason = "fork, unshare and the hook between fork and exec have no safe interface: each can break \
              promises of the standard library if it is called at the wrong moment, so each says here why it is not"
)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::process::Pid;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags};
use tokio::io::unix::AsyncFd;

/// Which side of a fork this process is.
pub(crate) enum Fork {
    /// The process that called; the child's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks this process, which must have a single thread: a lock that another thread holds would stay locked forever
/// in the child. It is refused otherwise.
pub(crate) fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("the lab must fork before it starts threads, and there are {threads}")));
    }
    // SAFETY: there is one thread, so the child's copy of memory is consistent.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map(Fork::Parent).ok_or_else(io::Error::last_os_error),
    }
}

/// Moves the calling thread (for a user, mount or PID namespace: the process, which must have one thread) into new
/// namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES endangers descriptors of other threads, and no caller passes it.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends the process at once, without running destructors or exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Registers a descriptor that this process owns with the tokio runtime.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<File>> {
    // SAFETY: the file is moved into the registration, nobody else can close it, and `File` always answers with the
    // same descriptor.
    Ok(unsafe { AsyncFd::register(File::from(fd)) }?)
}

/// A network namespace without a name: it lives as long as a handle to it or a process in it.
#[derive(Debug, Clone)]
pub(crate) struct NetNs {
    file: Arc<File>,
    inode: u64,
}

impl NetNs {
    /// The namespace of the calling thread.
    pub(crate) fn current() -> io::Result<NetNs> {
        let file = File::open("/proc/thread-self/ns/net")?;
        let inode = file.metadata()?.ino();
        Ok(NetNs { file: Arc::new(file), inode })
    }

    /// Makes a new namespace and runs `set_up` on a thread in it.
    pub(crate) fn create<T: Send>(set_up: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(NetNs, T)> {
        on_own_thread(|| {
            unshare(UnshareFlags::NEWNET)?;
            let netns = NetNs::current()?;
            Ok((netns, set_up()?))
        })
    }

    /// Runs `work` on a thread of its own inside this namespace. Sockets made there stay in it.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_own_thread(|| {
            rustix::thread::move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
    }

    /// The kernel's number of the namespace, as `/proc/PID/ns/net` shows it.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// The descriptor, for netlink messages that name a namespace.
    pub(crate) fn raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A tree of files in a mount namespace of its own: it lives as long as a handle to it or a process in it.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    mounts: Arc<File>,
    path: Arc<CString>,
}

impl Root {
    /// Copies the mount namespace of the calling process and lets `mount`, on a thread in the copy, make the tree at
    /// `path`.
    pub(crate) fn create(path: CString, mount: impl FnOnce() -> io::Result<()> + Send) -> io::Result<Root> {
        let mounts = on_own_thread(|| {
            unshare(UnshareFlags::NEWNS)?;
            mount()?;
            File::open("/proc/thread-self/ns/mnt")
        })?;
        Ok(Root { mounts: Arc::new(mounts), path: Arc::new(path) })
    }
}

/// What a process has besides its network namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confinement {
    /// The files that it sees; `None`: those of the lab's init.
    pub(crate) root: Option<Root>,
    /// Where it starts, as it sees it; empty is `/`.
    pub(crate) directory: CString,
    /// Capabilities to take away, one per item.
    pub(crate) drop_capabilities: Arc<[CapabilitySet]>,
    /// Whether programs with privileges of their own (setuid) give it none.
    pub(crate) no_new_privileges: bool,
}

/// Runs `work` on a thread of its own inside `netns`, confined: what it starts is so, too.
pub(crate) fn confined<T: Send>(
    netns: &NetNs,
    confinement: &Confinement,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(|| {
        // Root and working directory belong to the process unless a thread takes its own.
        unshare(UnshareFlags::FS)?;
        rustix::thread::move_into_link_name_space(netns.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        if let Some(root) = &confinement.root {
            rustix::thread::move_into_link_name_space(root.mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
            rustix::process::chroot(root.path.as_c_str())?;
        }
        let directory = if confinement.directory.is_empty() { c"/" } else { confinement.directory.as_c_str() };
        rustix::process::chdir(directory)?;
        for capability in confinement.drop_capabilities.iter() {
            match rustix::thread::remove_capability_from_bounding_set(*capability) {
                // Younger than the kernel: nobody has it.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if confinement.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        work()
    })
}
