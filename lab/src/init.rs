//! The lab's init: the first process of its PID namespace. When it ends, the kernel ends everything in the lab.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::cluster;
use crate::namespaces::exit_now;
use crate::preflight::{Failure, Operation, checks};
use crate::report::Report;
use crate::rundir::RunDir;
use crate::stage::Inheritance;

/// Runs the cluster until the lifeline ends.
pub(crate) fn run(inheritance: Inheritance, rundir: RunDir, rootless: bool) -> ! {
    let reporter = inheritance.reporter.clone();
    match boot(inheritance, rundir, rootless) {
        Ok(never) => match never {},
        Err(report) => {
            reporter.send(&report);
            exit_now(3)
        }
    }
}

fn boot(inheritance: Inheritance, rundir: RunDir, rootless: bool) -> Result<std::convert::Infallible, Report> {
    let Inheritance { options, listener, lifeline, reporter, started } = inheritance;
    let _ = rustix::thread::set_name(c"netpol-lab-init");
    // Found before /proc is replaced: the lab's one image is this executable.
    let executable =
        std::env::current_exe().map_err(|error| Report::Broken(format!("cannot find netpol itself: {error}")))?;
    let remove = rundir.clone();
    lifeline
        .watch(move || {
            let _ = remove.remove_within_lab();
        })
        .map_err(|error| Report::Broken(format!("cannot watch the parent: {error}")))?;
    let attempt = |operation, result: rustix::io::Result<()>| {
        result.map_err(|errno| Report::Failed(Failure::new(operation, &errno.into(), rootless)))
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    attempt(Operation::PrivateMounts, mount_change("/", private))?;
    let guarded = MountFlags::NOSUID | MountFlags::NODEV;
    attempt(Operation::Tmpfs, mount("tmpfs", rundir.private(), "tmpfs", guarded, c"mode=0755"))?;
    attempt(Operation::Proc, mount("proc", "/proc", "proc", guarded | MountFlags::NOEXEC, None))?;
    checks::network(rootless).map_err(Report::Failed)?;
    install(&executable, &rundir)
        .map_err(|error| Report::Broken(format!("cannot set up {}: {error}", rundir.bin().display())))?;
    tracing::debug!(elapsed = ?started.elapsed(), "namespaces and preflight");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Report::Broken(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(cluster::run(options, rundir, listener, reporter, started));
    Err(Report::Broken(format!("{:#}", ended.err().unwrap_or_else(|| anyhow::anyhow!("the cluster ended by itself")))))
}

/// The programs of the lab's image, as links to this executable.
fn install(executable: &Path, rundir: &RunDir) -> io::Result<()> {
    std::fs::create_dir(rundir.bin())?;
    for name in ["netpol", "ping"] {
        symlink(executable, rundir.bin().join(name))?;
    }
    Ok(())
}
