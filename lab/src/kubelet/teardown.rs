//! The end of a pod and of single containers: the hook, SIGTERM, SIGKILL, and for a pod its network last.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use tokio::time::Instant;

use super::container::{Gate, Role, State, Terminated};
use super::hooks::Hook;
use super::registry::RunningPod;

/// How long the kernel may take to end processes that were killed.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// What a container has at least after its hook, as in Kubernetes.
const AFTER_HOOK: Duration = Duration::from_secs(2);

/// Ends a pod: its containers side by side, then its sidecars from the last to the first, all within `grace`; then
/// whatever is left is killed, and its link and addresses go. With a grace period of 0 it is killed at once.
pub(super) async fn tear_down(pod: Arc<RunningPod>, grace: Duration) {
    // From now on no container starts.
    shut(&pod, Gate::Ending);
    if !grace.is_zero() {
        let deadline = Instant::now() + grace;
        let all = 0..pod.containers.len();
        let (sidecars, others): (Vec<_>, Vec<_>) = all.partition(|index| pod.containers[*index].role == Role::Sidecar);
        join_all(others.into_iter().map(|index| stop(&pod, index, grace))).await;
        for index in sidecars.into_iter().rev() {
            stop(&pod, index, deadline.saturating_duration_since(Instant::now())).await;
        }
    }
    shut(&pod, Gate::Shut);
    let doomed = pod.clone();
    let _ = tokio::task::spawn_blocking(move || {
        let sessions = doomed.sessions().clone();
        let gone = if doomed.host_network {
            doomed.processes.kill_sessions(&sessions, KILLED_WITHIN)
        } else {
            doomed.processes.kill_namespace(&doomed.netns, KILLED_WITHIN)
        };
        if !gone {
            tracing::warn!(pod = doomed.name, "processes of a deleted pod cannot be killed");
        }
        drop(doomed.own.lock().unwrap_or_else(PoisonError::into_inner).take());
    })
    .await;
    for run in pod.containers.iter() {
        let (process, since) = match &*run.record() {
            record if let State::Running { since } = record.state => (record.process.clone(), since),
            _ => continue,
        };
        if let Some(mut process) = process {
            run.conclude(Terminated::of(process.ended().await, since));
        }
    }
}

fn shut(pod: &RunningPod, gate: Gate) {
    for run in pod.containers.iter() {
        run.record().gate = gate;
    }
}

/// Ends the process of one container: its hook, SIGTERM, and SIGKILL to its session after `grace`.
pub(super) async fn stop(pod: &Arc<RunningPod>, container: usize, grace: Duration) {
    let run = &pod.containers[container];
    let process = match &*run.record() {
        record if matches!(record.state, State::Running { .. }) => record.process.clone(),
        _ => None,
    };
    let Some(mut process) = process.filter(|process| !process.has_ended()) else { return };
    let deadline = Instant::now() + grace;
    // What it asks for was understood when the pod was admitted.
    if let Ok((_, Some(hook))) = Hook::of(&run.spec) {
        let about = pod.about(Some(container));
        match tokio::time::timeout(grace, hook.run(pod, container)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => {
                pod.recorder.warning(&about, "FailedPreStopHook", format!("PreStopHook failed: {problem}"));
            }
            Err(_) => {
                let message = format!("PreStopHook did not end within the grace period of {grace:?}");
                pod.recorder.warning(&about, "FailedPreStopHook", message);
            }
        }
        let rest = deadline.saturating_duration_since(Instant::now()).max(AFTER_HOOK);
        process.signal(Signal::TERM);
        let _ = tokio::time::timeout(rest, process.ended()).await;
    } else {
        process.signal(Signal::TERM);
        let _ = tokio::time::timeout_at(deadline, process.ended()).await;
    }
    let (processes, leader) = (pod.processes.clone(), process.pid);
    let killed = tokio::task::spawn_blocking(move || processes.kill_sessions(&[leader].into(), KILLED_WITHIN)).await;
    if !killed.unwrap_or(false) {
        tracing::warn!(pod = pod.name, container = run.spec.name, "processes of a container cannot be killed");
    }
}
