//! Commands that the kubelet itself runs in a container: probes and hooks.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::container::Gate;
use super::registry::RunningPod;
use crate::processes::Process;

/// Bytes of the output that are read, as in Kubernetes.
const LONGEST_OUTPUT: u64 = 10 * 1024;
/// How long its output is read on after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long killing it may take.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// Runs `command` in a container until it ends, for at most `limit`.
///
/// # Errors
/// What it printed and how it ended, if not with 0.
pub(super) async fn execute(
    pod: &Arc<RunningPod>,
    container: usize,
    command: &[String],
    limit: Duration,
) -> Result<(), String> {
    let (owner, line) = (pod.clone(), command.to_vec());
    let runtime = tokio::runtime::Handle::current();
    let started = tokio::task::spawn_blocking(move || {
        let _entered = runtime.enter();
        start(&owner, container, &line).map_err(|error| format!("cannot start {line:?}: {error}"))
    });
    let (process, output) = started.await.map_err(|error| error.to_string())??;
    let guard = Guard { pod: pod.clone(), process: process.clone() };
    let mut text = Vec::new();
    let running = async {
        let mut ended = process.clone();
        let mut output = output.take(LONGEST_OUTPUT);
        let mut reading = std::pin::pin!(output.read_to_end(&mut text));
        tokio::select! {
            _ = reading.as_mut() => process.clone().ended().await,
            exit = ended.ended() => {
                // What it said last; a child of its own may hold the pipe open for ever.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                exit
            }
        }
    };
    let exit = tokio::time::timeout(limit, running).await;
    drop(guard);
    match exit {
        Ok(exit) if exit.code == 0 => Ok(()),
        Ok(exit) => {
            let said = String::from_utf8_lossy(&text);
            let said = said.trim();
            Err(if said.is_empty() {
                format!("command {command:?} exited with {}", exit.code)
            } else {
                said.to_owned()
            })
        }
        Err(_) => Err(format!("command {command:?} timed out after {limit:?}")),
    }
}

fn start(pod: &RunningPod, container: usize, line: &[String]) -> std::io::Result<(Process, pipe::Receiver)> {
    let run = &pod.containers[container];
    let within = run.record().within.clone();
    let (program, confinement, output) = run.program_with_output(line, &within, &pod.surroundings)?;
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    let record = run.record();
    if record.gate == Gate::Shut {
        return Err(std::io::Error::other("the pod has ended"));
    }
    let process = pod.processes.spawn(program, &confinement, &pod.netns)?;
    pod.sessions().insert(process.pid);
    drop(record);
    Ok((process, output))
}

/// Kills the command if nobody waits for it any more.
struct Guard {
    pod: Arc<RunningPod>,
    process: Process,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let leader = self.process.pid;
        self.pod.sessions().remove(&leader);
        if !self.process.has_ended() {
            self.process.signal(rustix::process::Signal::KILL);
            let processes = self.pod.processes.clone();
            std::thread::spawn(move || processes.kill_sessions(&[leader].into(), KILLED_WITHIN));
        }
    }
}
