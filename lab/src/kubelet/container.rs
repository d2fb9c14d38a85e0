//! One container: what it is doing, and the start of its processes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

use super::environment::expand;
use super::image;
use super::logs::ContainerLog;
use super::security::Security;
use crate::namespaces::{Confinement, Root};
use crate::processes::{Exit, Process};
use crate::program::{Program, Streams};

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

impl State {
    /// Waiting without a message.
    pub(crate) fn waiting(reason: &'static str) -> State {
        State::Waiting { reason, message: String::new() }
    }
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

impl Terminated {
    /// A process that ran from `started` until this moment.
    pub(crate) fn of(exit: Exit, started: Timestamp) -> Terminated {
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        Terminated { exit, started, finished: Timestamp::now(), reason, message: String::new() }
    }
}

/// What part a container has in its pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that is restarted always: the next one starts once this one has started.
    Sidecar,
    /// One of the containers that the pod is for.
    Main,
}

/// What may still be started in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything.
    Open,
    /// The pod is ending: its hooks and exec, but no run of its own.
    Ending,
    /// Nothing: what is killed next is the last.
    Shut,
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
    pub(crate) gate: Gate,
    /// Where its processes live; of the last start.
    pub(crate) within: Arc<Within>,
}

/// What the processes of one run of a container have around them.
#[derive(Debug, Default)]
pub(crate) struct Within {
    /// Its resolved variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// The files that it sees, if they are not just the host's.
    pub(crate) root: Option<Root>,
}

impl Within {
    /// The same with one more variable.
    pub(crate) fn with_variable(&self, name: &str, value: &str) -> Arc<Within> {
        let mut variables = self.variables.clone();
        variables.insert(name.to_owned(), value.to_owned());
        Arc::new(Within { variables, root: self.root.clone() })
    }
}

/// A container of a pod on this node.
#[derive(Debug)]
pub(crate) struct ContainerRun {
    /// As declared.
    pub(crate) spec: Container,
    pub(crate) role: Role,
    security: Security,
    record: Mutex<Record>,
    /// Whether it runs and its startup probe, if any, has passed.
    pub(crate) started: watch::Sender<bool>,
}

impl ContainerRun {
    /// A container that waits for its start.
    pub(crate) fn new(spec: Container, role: Role, state: State) -> ContainerRun {
        let record = Record {
            state,
            last: None,
            restarts: 0,
            ready: false,
            process: None,
            log: None,
            previous_log: None,
            gate: Gate::Open,
            within: Arc::default(),
        };
        let security = Security::of(&spec);
        ContainerRun { spec, role, security, record: Mutex::new(record), started: watch::channel(false).0 }
    }

    /// Its record, locked.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its place in the pod, as events name it.
    pub(crate) fn field_path(&self) -> String {
        let list = if self.role == Role::Main { "containers" } else { "initContainers" };
        format!("spec.{list}{{{}}}", self.spec.name)
    }

    /// Records the end of a run.
    pub(crate) fn conclude(&self, end: Terminated) {
        self.started.send_replace(false);
        let mut record = self.record();
        (record.ready, record.state) = (false, State::Terminated(end));
    }

    /// The container's command with its variables replaced.
    pub(crate) fn command_line(&self, within: &Within) -> Vec<String> {
        image::command(self.spec.command.as_deref(), self.spec.args.as_deref())
            .iter()
            .map(|word| expand(word, &within.variables))
            .collect()
    }

    /// A program in this container, and what confines it. It reads and writes nothing yet.
    pub(crate) fn program(
        &self,
        line: &[String],
        within: &Within,
        surroundings: &Surroundings,
    ) -> io::Result<(Program, Confinement)> {
        let path = surroundings.find(line.first().map(String::as_str).unwrap_or_default())?;
        let mut variables = surroundings.variables.clone();
        variables.extend(within.variables.clone());
        let program = Program::new(&path, line, &variables)?;
        let directory = self.spec.working_dir.as_deref().unwrap_or("/");
        let confinement = Confinement {
            root: within.root.clone(),
            directory: CString::new(directory)?,
            drop_capabilities: self.security.drop_capabilities.clone(),
            no_new_privileges: self.security.no_new_privileges,
        };
        Ok((program, confinement))
    }

    /// The same with the pipe that its output comes through.
    pub(crate) fn program_with_output(
        &self,
        line: &[String],
        within: &Within,
        surroundings: &Surroundings,
    ) -> io::Result<(Program, Confinement, io::PipeReader)> {
        let (program, confinement) = self.program(line, within, surroundings)?;
        // One pipe for both streams keeps their lines in order.
        let (output, input) = io::pipe()?;
        let program = program.with(Streams::Each([None, Some(input.try_clone()?.into()), Some(input.into())]));
        Ok((program, confinement, output))
    }
}

/// What every process of a pod gets.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    variables: BTreeMap<String, String>,
    path: Vec<PathBuf>,
}

impl Surroundings {
    /// For the pod `name` in the run `run`, with `bin` first in the PATH and `more` variables.
    pub(crate) fn new(name: &str, run: &str, bin: &Path, more: BTreeMap<String, String>) -> Surroundings {
        let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let path: Vec<PathBuf> = [bin.to_owned()].into_iter().chain(system.map(PathBuf::from)).collect();
        let joined = path.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":");
        let mut variables = more;
        variables.extend(
            [("PATH", joined.as_str()), ("HOSTNAME", name), ("HOME", "/"), ("NETPOL_RUN", run)]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        Surroundings { variables, path }
    }

    /// Finds a program in the PATH of pods.
    ///
    /// # Errors
    /// As exec would say that it is not there.
    fn find(&self, program: &str) -> io::Result<PathBuf> {
        if program.contains('/') {
            return Ok(program.into());
        }
        let found = self.path.iter().map(|dir| dir.join(program)).find(|file| file.is_file());
        found.ok_or_else(|| rustix::io::Errno::NOENT.into())
    }
}
