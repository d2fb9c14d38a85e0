//! Logs that a case follows, as a person does with `kubectl logs -f`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Profile;
use crate::cluster::Cluster;
use crate::plan::{LogOutcome, LogWatch};
use crate::report::{LogReport, Status};
use crate::waits;
use crate::world::World;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(20);

/// The followed logs of a case, by name; they end with it.
pub(super) struct FollowedLogs {
    followed: BTreeMap<String, (LogWatch, Arc<Tail>)>,
    tasks: Vec<AbortHandle>,
}

/// The end of one log.
#[derive(Default)]
struct Tail {
    lines: AtomicU64,
    /// Whether a stream stands: without one, that no line comes says nothing.
    following: AtomicBool,
}

impl FollowedLogs {
    /// Starts to follow, from now on.
    pub(super) fn follow(cluster: &Cluster, world: &World, watches: &[LogWatch]) -> Self {
        let mut logs = FollowedLogs { followed: BTreeMap::new(), tasks: Vec::new() };
        for watch in watches {
            let namespace = world.bindings.namespaces.get(&watch.cell.from.namespace).cloned().unwrap_or_default();
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
            let tail = Arc::new(Tail::default());
            let task = tokio::spawn(follow(pods, watch.cell.from.name.clone(), tail.clone()));
            logs.tasks.push(task.abort_handle());
            logs.followed.insert(watch.name.clone(), (watch.clone(), tail));
        }
        logs
    }

    /// How many lines each has shown so far.
    pub(super) fn read(&self) -> BTreeMap<String, u64> {
        self.followed.iter().map(|(name, (_, tail))| (name.clone(), tail.lines.load(Ordering::Relaxed))).collect()
    }

    /// Waits until every log that must grow has a line more than in `before`, at most [`waits::LOG_GROWS`].
    pub(super) async fn await_growth(&self, wanted: &BTreeMap<String, LogOutcome>, before: &BTreeMap<String, u64>) {
        let start = Instant::now();
        let must_grow = |name: &String| wanted.get(name) == Some(&LogOutcome::Grows);
        while start.elapsed() < waits::LOG_GROWS.limit {
            let now = self.read();
            if now.keys().filter(|name| must_grow(name)).all(|name| now.get(name) > before.get(name)) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether one of them did between two readings what the step asks.
    pub(super) fn judge(
        &self,
        name: &str,
        wanted: LogOutcome,
        readings: (&BTreeMap<String, u64>, &BTreeMap<String, u64>),
        profile: Profile,
    ) -> Option<LogReport> {
        let (watch, tail) = self.followed.get(name)?;
        let count = |reading: &BTreeMap<String, u64>| reading.get(name).copied().unwrap_or_default();
        let lines = count(readings.1).saturating_sub(count(readings.0));
        let (expected, agrees) = match wanted {
            LogOutcome::Grows => ("grows", lines > 0),
            LogOutcome::Stops => ("stops", lines == 0),
        };
        Some(LogReport {
            pod: watch.cell.from.to_string(),
            expected: expected.to_owned(),
            lines,
            status: match (tail.following.load(Ordering::Relaxed), agrees) {
                (false, _) => Status::NotMeasured,
                (true, true) => Status::Passed,
                (true, false) => Status::Failed,
            },
            asserted: profile.asserts(watch.level),
        })
    }
}

impl Drop for FollowedLogs {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Counts the lines of a pod's log from now on; a pod that is created again is followed again.
async fn follow(pods: Api<Pod>, pod: String, tail: Arc<Tail>) {
    let params = LogParams { follow: true, since_seconds: None, tail_lines: Some(0), ..LogParams::default() };
    loop {
        match pods.log_stream(&pod, &params).await {
            Ok(stream) => {
                tail.following.store(true, Ordering::Relaxed);
                let mut stream = stream.lines();
                while let Some(Ok(_)) = stream.next().await {
                    tail.lines.fetch_add(1, Ordering::Relaxed);
                }
                tail.following.store(false, Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(pod, %error, "following a log"),
        }
        tokio::time::sleep(POLL).await;
    }
}
