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
    followed: BTreeMap<String, Followed>,
    tasks: Vec<AbortHandle>,
}

/// One of them.
struct Followed {
    watch: LogWatch,
    pods: Api<Pod>,
    tail: Arc<Tail>,
}

/// What the logs showed, by name.
pub(super) struct Reading {
    /// Lines that came so far.
    new: BTreeMap<String, u64>,
    /// Lines since the container began, where a step asks for them; logs that cannot be read are missing.
    all: BTreeMap<String, u64>,
}

/// The end of one log.
#[derive(Default)]
struct Tail {
    lines: AtomicU64,
    /// Whether a stream stands.
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
            let task = tokio::spawn(follow(pods.clone(), watch.clone(), tail.clone()));
            logs.tasks.push(task.abort_handle());
            logs.followed.insert(watch.name.clone(), Followed { watch: watch.clone(), pods, tail });
        }
        logs
    }

    /// How many lines each has shown so far; since its container began, where the step asks for that.
    pub(super) async fn read(&self, wanted: &BTreeMap<String, LogOutcome>) -> Reading {
        let mut all = BTreeMap::new();
        for (name, Followed { watch, pods, .. }) in &self.followed {
            if matches!(wanted.get(name), Some(LogOutcome::Silent | LogOutcome::Heard)) {
                let params = LogParams { container: Some(watch.container.clone()), ..LogParams::default() };
                match pods.logs(&watch.cell.from.name, &params).await {
                    Ok(log) => drop(all.insert(name.clone(), log.lines().count() as u64)),
                    Err(error) => tracing::debug!(pod = watch.cell.from.name, %error, "reading a log"),
                }
            }
        }
        Reading { new: self.lines(), all }
    }

    fn lines(&self) -> BTreeMap<String, u64> {
        self.followed.iter().map(|(name, log)| (name.clone(), log.tail.lines.load(Ordering::Relaxed))).collect()
    }

    /// Waits until every log that must grow has a line more than in `before`, at most [`waits::LOG_GROWS`].
    pub(super) async fn await_growth(&self, wanted: &BTreeMap<String, LogOutcome>, before: &Reading) {
        let start = Instant::now();
        let must_grow = |name: &String| wanted.get(name) == Some(&LogOutcome::Grows);
        while start.elapsed() < waits::LOG_GROWS.limit {
            let now = self.lines();
            if now.keys().filter(|name| must_grow(name)).all(|name| now.get(name) > before.new.get(name)) {
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
        (before, after): (&Reading, &Reading),
        profile: Profile,
    ) -> Option<LogReport> {
        let Followed { watch, tail, .. } = self.followed.get(name)?;
        let count = |reading: &Reading| reading.new.get(name).copied().unwrap_or_default();
        let new = count(after).saturating_sub(count(before));
        // Without a stream, that no line comes says nothing.
        let seen = tail.following.load(Ordering::Relaxed).then_some(new);
        let whole = after.all.get(name).copied();
        let (expected, lines, agrees) = match wanted {
            LogOutcome::Grows => ("grows", seen, new > 0),
            LogOutcome::Stops => ("stops", seen, new == 0),
            LogOutcome::Silent => ("silent", whole, whole == Some(0)),
            LogOutcome::Heard => ("heard", whole, whole > Some(0)),
        };
        Some(LogReport {
            pod: watch.cell.from.to_string(),
            expected: expected.to_owned(),
            lines: lines.unwrap_or(new),
            status: match (lines, agrees) {
                (None, _) => Status::NotMeasured,
                (Some(_), true) => Status::Passed,
                (Some(_), false) => Status::Failed,
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
async fn follow(pods: Api<Pod>, watch: LogWatch, tail: Arc<Tail>) {
    let (pod, container) = (watch.cell.from.name, Some(watch.container));
    let params = LogParams { follow: true, container, tail_lines: Some(0), ..LogParams::default() };
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
