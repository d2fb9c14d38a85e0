//! Network namespaces for tests, as root or as an ordinary user.

#![expect(
    unsafe_code,
    reason = "unshare changes what the whole process or thread sees, and pre_exec runs between fork and exec"
)]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs, io, thread};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space, unshare_unsafe,
};

/// Set in the process that is already within.
const WITHIN: &str = "NETPOL_ENFORCER_TEST_WITHIN";
/// How a test that went through ends within: not zero, which is also the end of a program that found no such test.
const PASSED: i32 = 42;

/// Starts this test program again for the test of this name in a network namespace of its own, and runs `body` there. Who may
/// not make one gets a user namespace around it.
pub(crate) fn in_scratch_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(WITHIN).is_some() {
        body();
        std::process::exit(PASSED);
    }
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let capable = capabilities(None).expect("own capabilities").effective.contains(needed);
    let (uid_map, gid_map) = (format!("0 {} 1", geteuid().as_raw()), format!("0 {} 1", getegid().as_raw()));
    let enter = move || -> io::Result<()> {
        let user = if capable { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
        // SAFETY: the new process has one thread and shares no descriptor table with another.
        unsafe { unshare_unsafe(user | UnshareFlags::NEWNET) }?;
        if !capable {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            fs::write("/proc/self/gid_map", &gid_map)?;
        }
        Ok(())
    };
    let mut command = Command::new(env::current_exe().expect("the test's own path"));
    command.args([test, "--exact", "--nocapture"]).env(WITHIN, "1");
    // SAFETY: the closure only makes system calls and touches no lock of ours.
    let status = unsafe { command.pre_exec(enter) }.status().expect("the test runs again");
    assert_eq!(status.code(), Some(PASSED), "{test} failed in its scratch namespace: {status}");
}

/// Makes a directory read-only for this thread and those that it starts, as a container runtime does with /proc/sys.
pub(crate) fn make_read_only(directory: &str) {
    // SAFETY: the thread's own mount namespace; nothing refers to its working directory.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("a mount namespace");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("mounts of its own");
    mount_bind(directory, directory).expect("a mount of the directory");
    mount_remount(directory, MountFlags::BIND | MountFlags::RDONLY, "").expect("a read-only one");
}

/// A network namespace without a name: it goes when nothing refers to it any more.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// A new one.
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: only this thread moves, and it ends after this.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
            Self::current()
        });
        made.join().expect("the thread that makes a namespace")
    }

    /// The one that the thread is in.
    pub(crate) fn current() -> Self {
        Self(File::open("/proc/thread-self/ns/net").expect("the thread's network namespace").into())
    }

    /// The same one, once more.
    pub(crate) fn try_clone(&self) -> Self {
        Self(self.0.try_clone().expect("a descriptor"))
    }

    /// Runs `body` within, on a thread of its own. Sockets that it makes stay there.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let within = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter");
                body()
            });
            within.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
