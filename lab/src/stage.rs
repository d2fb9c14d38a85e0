//! The stage between the parent and the lab's init: it makes the namespaces, forks the init into them, and cleans up
//! after it.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, WaitOptions};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::cli::LabOptions;
use crate::init;
use crate::lifeline::Watched;
use crate::namespaces::{Fork, fork, unshare};
use crate::preflight::{Failure, Operation};
use crate::report::{Report, Reporter};
use crate::rundir::RunDir;

/// What the lab's processes inherit from the parent.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) options: LabOptions,
    /// Bound to the host's loopback; the init serves the API on it from within another namespace.
    pub(crate) listener: TcpListener,
    pub(crate) lifeline: Watched,
    pub(crate) reporter: Reporter,
    /// When the parent began.
    pub(crate) started: Instant,
}

/// Runs as the parent's child, until the init has ended. The exit code of the process.
pub(crate) fn run(inheritance: Inheritance) -> i32 {
    // Out of the terminal's foreground group: ^C is the parent's to handle, and it reaches the lab by the lifeline.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"netpol-lab");
    let reporter = inheritance.reporter.clone();
    let rootless = !may_make_namespaces();
    // Made here and not by the parent: whatever kills that, this process cleans up.
    let rundir = match RunDir::create(&inheritance.options.run) {
        Ok(rundir) => rundir,
        Err(error) => {
            reporter.send(&Report::Broken(error.to_string()));
            return 3;
        }
    };
    reporter.send(&Report::Directory(rundir.path().to_owned()));
    let forked = detach_from_standard_streams()
        .map_err(|error| Report::Broken(format!("cannot open /dev/null: {error}")))
        .and_then(|()| make_namespaces(rootless).map_err(Report::Failed))
        .and_then(|()| fork().map_err(|error| Report::Broken(format!("cannot fork the lab's init: {error}"))));
    match forked {
        Ok(Fork::Child) => {
            drop(reporter);
            init::run(inheritance, rundir, rootless)
        }
        Ok(Fork::Parent(init)) => {
            // The listener and the report pipe are the init's alone now: their end says that it has ended.
            drop((inheritance, reporter));
            let code = wait_for(init);
            let _ = rundir.remove_within_lab();
            code
        }
        Err(report) => {
            reporter.send(&report);
            let _ = rundir.remove_within_lab();
            3
        }
    }
}

/// What this process can do decides, not its uid: root in a container often cannot.
fn may_make_namespaces() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

fn detach_from_standard_streams() -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

fn make_namespaces(rootless: bool) -> Result<(), Failure> {
    let attempt = |operation, result: io::Result<()>| result.map_err(|error| Failure::new(operation, &error, rootless));
    if rootless {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        attempt(Operation::UserNamespace, unshare(UnshareFlags::NEWUSER).map_err(Into::into))?;
        attempt(Operation::UserMap, map_user(uid, gid))?;
    }
    for (operation, flag) in [
        (Operation::MountNamespace, UnshareFlags::NEWNS),
        (Operation::PidNamespace, UnshareFlags::NEWPID),
        (Operation::NetworkNamespace, UnshareFlags::NEWNET),
    ] {
        attempt(operation, unshare(flag).map_err(Into::into))?;
    }
    Ok(())
}

/// Becomes root of the user namespace, and nobody else: the kernel lets an ordinary user map only itself, and its
/// group only after it has given up setgroups.
fn map_user(uid: u32, gid: u32) -> io::Result<()> {
    let own = Path::new("/proc/self");
    std::fs::write(own.join("setgroups"), "deny")?;
    std::fs::write(own.join("uid_map"), format!("0 {uid} 1"))?;
    std::fs::write(own.join("gid_map"), format!("0 {gid} 1"))
}

/// Waits for the init; its exit code, or 3 if it was killed.
fn wait_for(init: Pid) -> i32 {
    loop {
        match rustix::process::waitpid(Some(init), WaitOptions::empty()) {
            Ok(Some((_, status))) => return status.exit_status().unwrap_or(3),
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return 3,
        }
    }
}
