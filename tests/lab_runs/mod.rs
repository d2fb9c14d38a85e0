//! Labs under test: started by the real command, ended in many ways, and searched for what they leave.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The executable under test.
pub const NETPOL: &str = env!("CARGO_BIN_EXE_netpol");

/// Waits for a condition; its last answer, which is the empty one if it became so in time.
pub fn eventually<T: Default + PartialEq>(within: Duration, mut look: impl FnMut() -> T) -> T {
    let deadline = Instant::now() + within;
    loop {
        let found = look();
        if found == T::default() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A run id that no other test has.
pub fn new_run() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `netpol target up lab` with this run id.
pub fn target_up(run: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(NETPOL);
    command.args(["target", "up", "lab", "--run", run]).args(arguments);
    command
}

/// A lab that is Ready.
pub struct Lab {
    /// The parent.
    pub process: Child,
    /// Its run id.
    pub run: String,
    /// The one line that it printed.
    pub line: serde_json::Value,
    /// How long it took to print it.
    pub boot: Duration,
}

impl Lab {
    /// Boots a lab.
    pub fn up(arguments: &[&str]) -> Lab {
        let run = new_run();
        let command = target_up(&run, arguments);
        Lab::start(command, run)
    }

    /// Boots a lab by a command that leads to `netpol target up lab --run <run>`.
    pub fn start(mut command: Command, run: String) -> Lab {
        let started = Instant::now();
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command can be started");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("standard output");
        let boot = started.elapsed();
        let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command:?} printed {line:?}"));
        Lab { process, run, line, boot }
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.line["kubeconfig"].as_str().expect("a path").into()
    }

    /// A client for it.
    pub async fn client(&self) -> kube::Client {
        let file = kube::config::Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(file, &Default::default()).await.expect("a usable kubeconfig");
        kube::Client::try_from(config).expect("a client")
    }

    /// Ends it as the harness does, and returns how it ended and how long that took.
    pub fn end(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        drop(self.process.stdin.take());
        (self.process.wait().expect("the parent is ours"), started.elapsed())
    }

    /// The parent's id.
    pub fn parent(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// The id of the stage, the parent's child.
    pub fn stage(&self) -> Pid {
        child_of(self.parent())
    }

    /// The id of the lab's init, the stage's child.
    pub fn init(&self) -> Pid {
        child_of(self.stage())
    }

    /// Ids of the processes in its pods and on its nodes that run `program`.
    pub fn programs(&self, program: &str) -> BTreeSet<i32> {
        let is =
            |pid: &i32| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_ascii() == program.as_bytes());
        processes_of(&self.run).into_iter().filter(is).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process that a test has started.
pub fn send(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the process is there and ours");
}

/// The first child that a process of ours started from its first thread.
pub fn child_of(parent: Pid) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let list = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let first = list.split_whitespace().next().unwrap_or_else(|| panic!("{path} names no child"));
    Pid::from_raw(first.parse().expect("a number")).expect("not zero")
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Every process that names the run in its command line or environment. Zombies are over and have neither.
pub fn processes_of(run: &str) -> BTreeSet<i32> {
    let names = |pid: &i32, file: &str| {
        let mut text = Vec::new();
        let read = fs::File::open(format!("/proc/{pid}/{file}")).and_then(|mut file| file.read_to_end(&mut text));
        // A whole word: run 1 is not run 10.
        read.is_ok() && text.split(|byte| matches!(byte, 0 | b'=')).any(|word| word == run.as_bytes())
    };
    let own = std::process::id() as i32;
    pids().filter(|pid| *pid != own && (names(pid, "cmdline") || names(pid, "environ"))).collect()
}

/// Every namespace that a process is in or holds open, as `net:[4026531840]`, with that process.
fn namespaces(pid: i32) -> BTreeSet<String> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let links = ["ns", "fd"].into_iter().flat_map(|dir| fs::read_dir(base.join(dir)).into_iter().flatten().flatten());
    links
        .filter_map(|link| fs::read_link(link.path()).ok()?.into_os_string().into_string().ok())
        .filter(|target| {
            target.contains(":[") && ["net:", "mnt:", "pid:", "user:"].iter().any(|kind| target.starts_with(kind))
        })
        .collect()
}

/// What a run has made, seen while it is up, to be searched for afterwards.
pub struct Traces {
    run: String,
    namespaces: BTreeSet<String>,
    interfaces: BTreeSet<String>,
    directory: PathBuf,
}

impl Traces {
    /// Interfaces of this host, to be compared before a lab is up.
    pub fn interfaces() -> BTreeSet<String> {
        let entries = fs::read_dir("/sys/class/net").expect("/sys/class/net").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Looks at a lab that is up.
    pub fn of(lab: &Lab, interfaces: BTreeSet<String>) -> Traces {
        let own = namespaces(std::process::id() as i32);
        let namespaces: BTreeSet<String> =
            processes_of(&lab.run).into_iter().flat_map(namespaces).filter(|name| !own.contains(name)).collect();
        let count = namespaces.iter().filter(|name| name.starts_with("net:")).count();
        assert!(count >= 3, "the fabric and two nodes at least are seen: {namespaces:?}");
        let directory = lab.kubeconfig().parent().expect("a directory").to_owned();
        assert_eq!(fs::metadata(&directory).expect("the run's directory").mode() & 0o777, 0o700);
        assert_eq!(Traces::interfaces(), interfaces, "the host's interfaces are untouched while the lab is up");
        Traces { run: lab.run.clone(), namespaces, interfaces, directory }
    }

    /// What is left of the run, in words, after at most `within`.
    pub fn left(&self, within: Duration) -> Vec<String> {
        eventually(within, || self.look())
    }

    fn look(&self) -> Vec<String> {
        let mut left: Vec<String> = processes_of(&self.run).into_iter().map(|pid| format!("process {pid}")).collect();
        for pid in pids() {
            let held = namespaces(pid);
            left.extend(held.intersection(&self.namespaces).map(|name| format!("namespace {name} of process {pid}")));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        left.extend(
            mounts.lines().filter(|line| line.contains(&format!("netpol-lab-{}", self.run))).map(str::to_owned),
        );
        left.extend(Traces::interfaces().difference(&self.interfaces).map(|name| format!("interface {name}")));
        left.extend(Some(&self.directory).filter(|path| path.exists()).map(|path| path.display().to_string()));
        left
    }
}

/// Whether the directories that labs use hold anything of this run.
pub fn directory_of(run: &str) -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let bases = runtime.into_iter().chain([std::env::temp_dir()]);
    bases.map(|base| base.join(format!("netpol-lab-{run}"))).find(|path: &PathBuf| Path::exists(path))
}
