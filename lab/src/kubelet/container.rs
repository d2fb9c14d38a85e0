//! One container: what it is doing, and the start of its process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::environment::expand;
use super::image;
use super::logs::ContainerLog;
use crate::processes::{Exit, Process};

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not started, for a reason and with a message.
    Waiting { reason: &'static str, message: String },
    /// Running since.
    Running { since: Timestamp },
    /// Ended.
    Terminated(Terminated),
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminated {
    pub(crate) exit: Exit,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What is recorded of a container.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: i32,
    pub(crate) ready: bool,
    pub(crate) process: Option<Process>,
    pub(crate) log: Option<ContainerLog>,
    pub(crate) previous_log: Option<ContainerLog>,
    /// The pod is being torn down: nothing may be started any more.
    pub(crate) closed: bool,
}

/// A container of a pod on this node.
#[derive(Debug)]
pub(crate) struct ContainerRun {
    /// As declared.
    pub(crate) spec: Container,
    /// Its resolved variables, empty before the pod has an address.
    pub(crate) variables: BTreeMap<String, String>,
    record: Mutex<Record>,
}

impl ContainerRun {
    /// A container that waits for its start.
    pub(crate) fn new(spec: Container, variables: BTreeMap<String, String>, state: State) -> ContainerRun {
        let record = Record {
            state,
            last: None,
            restarts: 0,
            ready: false,
            process: None,
            log: None,
            previous_log: None,
            closed: false,
        };
        ContainerRun { spec, variables, record: Mutex::new(record) }
    }

    /// Its record, locked.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container's command with its variables replaced.
    pub(crate) fn command_line(&self) -> Vec<String> {
        image::command(self.spec.command.as_deref(), self.spec.args.as_deref())
            .iter()
            .map(|word| expand(word, &self.variables))
            .collect()
    }

    /// A command in this container's environment.
    pub(crate) fn command(&self, line: &[String], surroundings: &Surroundings) -> Command {
        let mut command = Command::new(surroundings.find(line.first().map(String::as_str).unwrap_or_default()));
        command.args(line.get(1..).unwrap_or_default());
        command.env_clear();
        command.envs(&surroundings.variables);
        command.envs(&self.variables);
        command.current_dir(self.spec.working_dir.as_deref().unwrap_or("/"));
        command
    }

    /// A command for the container's own process, and the pipe that its output comes through.
    pub(crate) fn main_command(&self, surroundings: &Surroundings) -> io::Result<(Command, io::PipeReader)> {
        let mut command = self.command(&self.command_line(), surroundings);
        // One pipe for both streams keeps their lines in order.
        let (output, input) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        Ok((command, output))
    }
}

/// What every process of a pod gets.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    variables: BTreeMap<String, String>,
    path: Vec<PathBuf>,
}

impl Surroundings {
    /// For the pod `name` in the run `run`, with `bin` first in the PATH.
    pub(crate) fn new(name: &str, run: &str, bin: &Path) -> Surroundings {
        let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let path: Vec<PathBuf> = [bin.to_owned()].into_iter().chain(system.map(PathBuf::from)).collect();
        let joined = path.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":");
        let variables = [("PATH", joined.as_str()), ("HOSTNAME", name), ("HOME", "/"), ("NETPOL_RUN", run)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Surroundings { variables: variables.into(), path }
    }

    /// Finds a program in the PATH of pods. One that is not there is left for exec to refuse by its name.
    fn find(&self, program: &str) -> PathBuf {
        if program.contains('/') {
            return program.into();
        }
        self.path.iter().map(|dir| dir.join(program)).find(|file| file.is_file()).unwrap_or_else(|| program.into())
    }
}
