//! `pods/exec` and `pods/log` for the pods that run here.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::container::{ContainerRun, Gate, State};
use super::registry::{Registry, RunningPod};
use super::terminal::Terminal;
use crate::api::Runtime;
use crate::api::runtime::{ExecRequest, ExecSession, Log, LogRequest, RuntimeError, TerminalSize};
use crate::processes::Process;
use crate::program::Streams;

impl Runtime for Registry {
    fn exec(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecSession, RuntimeError>> {
        Box::pin(async move {
            let pod = self.pod(&request.namespace, &request.pod, &request.container)?;
            let runtime = tokio::runtime::Handle::current();
            let started = tokio::task::spawn_blocking(move || {
                let _entered = runtime.enter();
                start(&pod, &request)
            });
            started.await.map_err(|error| RuntimeError::Failed(format!("cannot start the process: {error}")))?
        })
    }

    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<Log, RuntimeError>> {
        Box::pin(async move {
            let pod = self.pod(&request.namespace, &request.pod, &request.container)?;
            let run = container(&pod, &request.container)?;
            let (log, which) = {
                let record = run.record();
                if request.previous {
                    (record.previous_log.clone(), "previous")
                } else {
                    (record.log.clone(), "present")
                }
            };
            let log = log.ok_or_else(|| {
                RuntimeError::NoLog(format!(
                    "container {} of pod {} has no {which} run",
                    request.container, request.pod
                ))
            })?;
            let (stored, live) = log.read();
            Ok(Log { stored, live: if request.follow { live } else { stream::empty().boxed() } })
        })
    }
}

impl Registry {
    fn pod(&self, namespace: &str, name: &str, container: &str) -> Result<Arc<RunningPod>, RuntimeError> {
        self.get(namespace, name)
            .ok_or_else(|| not_running(namespace, name, container, "the pod has not been started on its node".into()))
    }
}

fn not_running(namespace: &str, pod: &str, container: &str, detail: String) -> RuntimeError {
    RuntimeError::NotRunning { namespace: namespace.into(), pod: pod.into(), container: container.into(), detail }
}

fn container<'a>(pod: &'a RunningPod, name: &str) -> Result<&'a ContainerRun, RuntimeError> {
    pod.containers
        .iter()
        .find(|run| run.spec.name == name)
        .ok_or_else(|| RuntimeError::Failed(format!("pod {} has no container {name:?}", pod.name)))
}

fn start(pod: &Arc<RunningPod>, request: &ExecRequest) -> Result<ExecSession, RuntimeError> {
    let run = container(pod, &request.container)?;
    let failed = |error: io::Error| RuntimeError::Start { command: request.command.clone(), detail: error.to_string() };
    let within = run.record().within.clone();
    let variables = if request.tty { within.with_variable("TERM", "xterm") } else { within };
    let (program, confinement) = run.program(&request.command, &variables, &pod.surroundings).map_err(failed)?;
    let mut session = Session::default();
    let streams = if request.tty { session.terminal() } else { session.pipes(request) };
    let program = program.with(streams.map_err(failed)?);
    // The lock makes sure that the pod's end, which kills what runs in it, comes before or after the start.
    let record = run.record();
    match &record.state {
        State::Running { .. } if record.gate != Gate::Shut => {}
        State::Running { .. } => {
            return Err(not_running(
                &request.namespace,
                &pod.name,
                &request.container,
                "the pod is being deleted".into(),
            ));
        }
        State::Waiting { reason, message } => {
            return Err(not_running(&request.namespace, &pod.name, &request.container, format!("{reason}: {message}")));
        }
        State::Terminated(end) => {
            let detail = format!("it ended with exit code {}", end.exit.code);
            return Err(not_running(&request.namespace, &pod.name, &request.container, detail));
        }
    }
    let process = pod.processes.spawn(program, &confinement, &pod.netns).map_err(failed)?;
    pod.sessions().insert(process.pid);
    drop(record);
    Ok(session.into_session(process, pod.clone(), request))
}

/// Our ends of a process's streams.
#[derive(Default)]
struct Session {
    screen: Option<Terminal>,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Session {
    fn terminal(&mut self) -> io::Result<Streams> {
        let (screen, program) = Terminal::open()?;
        self.screen = Some(screen);
        Ok(Streams::Terminal(program))
    }

    fn pipes(&mut self, request: &ExecRequest) -> io::Result<Streams> {
        let mut theirs = [None, None, None];
        if request.stdin {
            let (end, ours) = io::pipe()?;
            theirs[0] = Some(end.into());
            self.stdin = Some(pipe::Sender::from_owned_fd(ours.into())?);
        }
        for (wanted, number, own) in [(request.stdout, 1, &mut self.stdout), (request.stderr, 2, &mut self.stderr)] {
            if wanted {
                let (ours, end) = io::pipe()?;
                theirs[number] = Some(end.into());
                *own = Some(pipe::Receiver::from_owned_fd(ours.into())?);
            }
        }
        Ok(Streams::Each(theirs))
    }

    fn into_session(self, process: Process, pod: Arc<RunningPod>, request: &ExecRequest) -> ExecSession {
        let Session { screen, stdin, stdout, stderr } = self;
        let mut waiting = process.clone();
        let exit = Box::pin(async move { Ok(waiting.ended().await.code) });
        let kill_on_drop = Box::new(KillOnDrop { process, pod });
        match screen {
            Some(screen) => ExecSession {
                stdin: request.stdin.then(|| Box::pin(screen.clone()) as _),
                stdout: request.stdout.then(|| Box::pin(screen.clone()) as _),
                stderr: None,
                resize: Some(follow_sizes(screen)),
                exit,
                kill_on_drop,
            },
            None => ExecSession {
                stdin: stdin.map(|pipe| Box::pin(pipe) as _),
                stdout: stdout.map(|pipe| Box::pin(pipe) as _),
                stderr: stderr.map(|pipe| Box::pin(pipe) as _),
                resize: None,
                exit,
                kill_on_drop,
            },
        }
    }
}

fn follow_sizes(screen: Terminal) -> mpsc::UnboundedSender<TerminalSize> {
    let (sender, mut sizes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            if let Err(error) = screen.resize(size) {
                tracing::debug!(%error, "cannot resize a terminal");
            }
        }
    });
    sender
}

/// Kills the session of a process that its client has left.
struct KillOnDrop {
    process: Process,
    pod: Arc<RunningPod>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let leader = self.process.pid;
        let ended = self.process.has_ended();
        self.pod.sessions().remove(&leader);
        if !ended {
            self.process.signal(rustix::process::Signal::KILL);
            let processes = self.pod.processes.clone();
            std::thread::spawn(move || processes.kill_sessions(&[leader].into(), std::time::Duration::from_secs(1)));
        }
    }
}
