//! The processes of pods: started, watched and reaped by the lab's init, to which every orphan comes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use tokio::sync::watch;

use crate::namespaces::{Confinement, NetNs, confined};
use crate::program::Program;

/// The table of processes that this init has started and that still run.
#[derive(Debug, Clone)]
pub(crate) struct Processes(Arc<Table>);

#[derive(Debug)]
struct Table {
    running: Mutex<HashMap<Pid, watch::Sender<Option<Exit>>>>,
    started: Condvar,
}

/// How a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 0–255, or 128 + n for a process that signal n ended.
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// A process, the leader of a session of its own.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Its id, and its session's.
    pub(crate) pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
    table: Processes,
}

impl Processes {
    /// An empty table, with a thread that reaps.
    pub(crate) fn start() -> io::Result<Processes> {
        let table = Processes(Arc::new(Table { running: Mutex::default(), started: Condvar::new() }));
        let reaper = table.clone();
        std::thread::Builder::new().name("reaper".into()).spawn(move || reaper.reap())?;
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, watch::Sender<Option<Exit>>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program in `netns`, confined. It blocks for about a millisecond.
    pub(crate) fn spawn(&self, program: Program, confinement: &Confinement, netns: &NetNs) -> io::Result<Process> {
        confined(netns, confinement, || {
            // The lock keeps the reaper from meeting the process before the table knows it.
            let mut running = self.lock();
            let pid = program.start()?;
            let (sender, exit) = watch::channel(None);
            running.insert(pid, sender);
            self.0.started.notify_one();
            Ok(Process { pid, exit, table: self.clone() })
        })
    }

    fn reap(&self) -> ! {
        loop {
            match rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => self.collect(),
                Err(rustix::io::Errno::INTR) => {}
                // No child at all, hence no orphan either. The table is looked at under its lock, so that a start
                // between the two calls is not missed.
                Err(_) => {
                    let running = self.lock();
                    if running.is_empty() {
                        drop(self.0.started.wait_timeout(running, Duration::from_secs(1)));
                    }
                }
            }
        }
    }

    fn collect(&self) {
        let mut running = self.lock();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(sender) = running.remove(&pid) {
                sender.send_replace(Some(exit_of(status)));
            }
        }
    }

    /// Sends a signal to a process of the table, unless it has been reaped: its id may be another's by now.
    fn signal(&self, pid: Pid, signal: Signal) {
        let running = self.lock();
        if running.contains_key(&pid) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Kills every process of a network namespace, until none is left or `patience` is over.
    pub(crate) fn kill_namespace(&self, netns: &NetNs, patience: Duration) -> bool {
        kill_all(patience, || all().filter(|pid| net_inode(*pid) == Some(netns.inode())).collect())
    }

    /// Kills the sessions of `leaders` and whatever descends from them, until none is left or `patience` is over.
    pub(crate) fn kill_sessions(&self, leaders: &HashSet<Pid>, patience: Duration) -> bool {
        let mut doomed = leaders.clone();
        kill_all(patience, || {
            let stats: Vec<Stat> = all().filter_map(Stat::read).collect();
            // Children of the doomed are doomed, also in other sessions; the loop closes over generations.
            loop {
                let before = doomed.len();
                let theirs = |s: &&Stat| leaders.contains(&s.session) || s.parent.is_some_and(|p| doomed.contains(&p));
                let more: Vec<Pid> = stats.iter().filter(theirs).map(|stat| stat.pid).collect();
                doomed.extend(more);
                if doomed.len() == before {
                    break;
                }
            }
            stats.iter().filter(|stat| stat.alive && doomed.contains(&stat.pid)).map(|stat| stat.pid).collect()
        })
    }
}

impl Process {
    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Exit {
        match self.exit.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The table lives as long as the lab; without it nothing is known of the end.
            _ => Exit { code: 255, signal: None },
        }
    }

    /// Whether it has ended and was reaped.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Sends a signal, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        self.table.signal(self.pid, signal);
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit { code, signal: None },
        (None, Some(signal)) => Exit { code: 128 + signal, signal: Some(signal) },
        (None, None) => Exit { code: 255, signal: None },
    }
}

fn kill_all(patience: Duration, mut find: impl FnMut() -> Vec<Pid>) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let found = find();
        if found.is_empty() {
            return true;
        }
        for pid in found {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every process of the lab's PID namespace but the init.
fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != Pid::INIT)
}

/// The network namespace of a process; a zombie has none.
fn net_inode(pid: Pid) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero())).ok().map(|link| link.ino())
}

/// What `/proc/PID/stat` says.
struct Stat {
    pid: Pid,
    alive: bool,
    parent: Option<Pid>,
    session: Pid,
}

impl Stat {
    fn read(pid: Pid) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name in parentheses may hold anything, also parentheses.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let alive = !matches!(fields.next()?, "Z" | "X");
        let parent = Pid::from_raw(fields.next()?.parse().ok()?);
        let session = Pid::from_raw(fields.nth(1)?.parse().ok()?)?;
        Some(Stat { pid, alive, parent, session })
    }
}
