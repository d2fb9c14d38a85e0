//! Runs a test in a network namespace of its own, as root or as an ordinary user.

#![expect(unsafe_code, reason = "between fork and exec only few calls are allowed; the closure keeps to system calls")]

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs, io};

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

/// Set in the process that is already within.
const WITHIN: &str = "NETPOL_NFT_TEST_WITHIN";
/// How a test that went through ends within. Zero would also be the end of a program that found no test of that name.
const PASSED: i32 = 42;

/// Starts this test program again for the test of this name, in a new network namespace, and runs `body` there. Who may not
/// make one gets a user namespace around it.
pub(crate) fn in_scratch_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(WITHIN).is_some() {
        body();
        std::process::exit(PASSED);
    }
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let capable = capabilities(None).unwrap().effective.contains(needed);
    let (uid_map, gid_map) = (format!("0 {} 1", geteuid().as_raw()), format!("0 {} 1", getegid().as_raw()));
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--include-ignored"]).env(WITHIN, "1");
    let enter = move || -> io::Result<()> {
        if capable {
            // SAFETY: the new process has one thread and shares no descriptor table.
            return Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?);
        }
        // SAFETY: as above.
        unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", &uid_map)?;
        fs::write("/proc/self/gid_map", &gid_map)
    };
    // SAFETY: the closure makes system calls and allocates little; it touches no lock of ours.
    let status = unsafe { command.pre_exec(enter) }.status().unwrap();
    assert_eq!(status.code(), Some(PASSED), "{test} failed in its scratch namespace: {status}");
}
