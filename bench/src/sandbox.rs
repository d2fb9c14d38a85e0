//! Network namespaces for the measurement, so that the machine's own is never touched, also as root.
#![expect(unsafe_code, reason = "unshare changes what the whole process or thread sees")]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;

use anyhow::{Context, ensure};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space, unshare_unsafe,
};

/// Moves this process, which must have a single thread, into a network namespace of its own; who may not make one gets a user
/// namespace around it.
///
/// # Errors
/// There are other threads, or the kernel lets this user make no namespaces.
pub(crate) fn enter() -> anyhow::Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("counting this process's threads")?.count();
    ensure!(threads == 1, "a namespace is entered before there are threads, and there are {threads}");
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let capable = capabilities(None).context("asking for this process's capabilities")?.effective.contains(needed);
    let (uid_map, gid_map) = (format!("0 {} 1", geteuid().as_raw()), format!("0 {} 1", getegid().as_raw()));
    let user = if capable { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    // SAFETY: there is one thread, and no descriptor table is unshared.
    unsafe { unshare_unsafe(user | UnshareFlags::NEWNET) }.context(
        "making a network namespace; `netpol lab up` says what to do where users may make none, or run this as root",
    )?;
    if !capable {
        fs::write("/proc/self/setgroups", "deny").context("giving up setgroups")?;
        fs::write("/proc/self/uid_map", uid_map).context("mapping this user")?;
        fs::write("/proc/self/gid_map", gid_map).context("mapping this group")?;
    }
    Ok(())
}

/// A network namespace without a name: it goes when nothing refers to it any more.
#[derive(Debug)]
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// A new one.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn new() -> anyhow::Result<Self> {
        on_own_thread(|| {
            // SAFETY: only this thread moves, and it ends after this; no descriptor table is unshared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("making a network namespace")?;
            Ok(Self(File::open("/proc/thread-self/ns/net").context("opening a network namespace")?.into()))
        })
    }

    /// The same one, once more.
    pub(crate) fn try_clone(&self) -> anyhow::Result<Self> {
        Ok(Self(self.0.try_clone().context("a descriptor of a network namespace")?))
    }

    /// Runs `work` within, on a thread of its own. Sockets that it makes stay there.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn run<T: Send, E>(&self, work: impl FnOnce() -> Result<T, E> + Send) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        on_own_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a namespace")?;
            Ok(work()?)
        })
    }

    /// The descriptor, for netlink messages that name a namespace.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
