//! A network namespace for the measurement, so that the machine's own is never touched, also as root.
#![expect(unsafe_code, reason = "unshare changes what the whole process sees")]

use std::fs;

use anyhow::{Context, ensure};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

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
