//! The end of a pod: its processes are asked, then killed, then its network goes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;

use super::registry::RunningPod;

/// How long the kernel may take to end processes that were killed.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// Ends a pod: SIGTERM to its containers, SIGKILL to whatever is left after `grace`, then its link and address go.
pub(super) async fn tear_down(pod: Arc<RunningPod>, grace: Duration) {
    let mut running = Vec::new();
    for container in &pod.containers {
        let mut record = container.record();
        // From now on nothing starts, so what is killed below was the last.
        record.closed = true;
        running.extend(record.process.clone());
    }
    if !grace.is_zero() {
        running.iter().for_each(|process| process.signal(Signal::TERM));
        let _ = tokio::time::timeout(grace, join_all(running.iter_mut().map(|process| process.ended()))).await;
    }
    let _ = tokio::task::spawn_blocking(move || {
        let sessions = pod.sessions().clone();
        let gone = if pod.host_network {
            pod.processes.kill_sessions(&sessions, KILLED_WITHIN)
        } else {
            pod.processes.kill_namespace(&pod.netns, KILLED_WITHIN)
        };
        if !gone {
            tracing::warn!(pod = pod.name, "processes of a deleted pod cannot be killed");
        }
        drop(pod.own.lock().unwrap_or_else(PoisonError::into_inner).take());
    })
    .await;
}
