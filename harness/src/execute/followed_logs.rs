//! Logs that a case follows, as a person does with `kubectl logs -f`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use jiff::Timestamp;
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
    /// Lines of logs that are to be unbroken, before the step's actions.
    marks: BTreeMap<String, usize>,
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
    /// The longest time between two lines since before the step's actions, where a step asks for it; none if there are not two.
    gaps: BTreeMap<String, Option<Duration>>,
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
        let mut logs = FollowedLogs { followed: BTreeMap::new(), marks: BTreeMap::new(), tasks: Vec::new() };
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

    /// Takes note of where the logs stand that the step wants unbroken, before it does anything.
    pub(super) async fn mark(&mut self, wanted: &BTreeMap<String, LogOutcome>) {
        let logs = self.whole(wanted, &[LogOutcome::Unbroken]).await;
        self.marks = logs.into_iter().map(|(name, log)| (name, log.lines().count())).collect();
    }

    /// How many lines each has shown so far; where the step asks for that, since its container began, or with what gaps.
    pub(super) async fn read(&self, wanted: &BTreeMap<String, LogOutcome>) -> Reading {
        let all = self.whole(wanted, &[LogOutcome::Silent, LogOutcome::Heard]).await;
        let all = all.into_iter().map(|(name, log)| (name, log.lines().count() as u64)).collect();
        let stamped = self.whole(wanted, &[LogOutcome::Unbroken]).await;
        let gaps = stamped.into_iter().map(|(name, log)| {
            let mark = self.marks.get(&name).copied().unwrap_or_default();
            (name, longest_gap(&log, mark))
        });
        Reading { new: self.lines(), all, gaps: gaps.collect() }
    }

    /// The logs of which a step asks one of these, since their containers began, each line behind the time at which it came; those that
    /// cannot be read are missing.
    async fn whole(&self, wanted: &BTreeMap<String, LogOutcome>, asked: &[LogOutcome]) -> BTreeMap<String, String> {
        let mut logs = BTreeMap::new();
        let followed = self.followed.iter().filter(|(name, _)| wanted.get(*name).is_some_and(|of| asked.contains(of)));
        for (name, Followed { watch, pods, .. }) in followed {
            let container = Some(watch.container.clone());
            let params = LogParams { container, timestamps: true, ..LogParams::default() };
            match pods.logs(&watch.cell.from.name, &params).await {
                Ok(log) => drop(logs.insert(name.clone(), log)),
                Err(error) => tracing::debug!(pod = watch.cell.from.name, %error, "reading a log"),
            }
        }
        logs
    }

    fn lines(&self) -> BTreeMap<String, u64> {
        self.followed.iter().map(|(name, log)| (name.clone(), log.tail.lines.load(Ordering::Relaxed))).collect()
    }

    /// Waits until every log that must grow has a line more than in `before`, at most [`waits::LOG_GROWS`].
    pub(super) async fn await_growth(&self, wanted: &BTreeMap<String, LogOutcome>, before: &Reading) {
        let start = Instant::now();
        let must_grow = |name: &String| matches!(wanted.get(name), Some(LogOutcome::Grows | LogOutcome::Unbroken));
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
        let read = after.gaps.get(name).copied();
        let gap = read.flatten();
        let (expected, lines, agrees) = match wanted {
            LogOutcome::Grows => ("grows", seen, new > 0),
            LogOutcome::Unbroken => {
                let whole = gap.is_some_and(|gap| gap <= waits::LOG_BREAKS);
                ("unbroken", seen.filter(|_| read.is_some()), new > 0 && whole)
            }
            LogOutcome::Stops => ("stops", seen, new == 0),
            LogOutcome::Silent => ("silent", whole, whole == Some(0)),
            LogOutcome::Heard => ("heard", whole, whole > Some(0)),
        };
        Some(LogReport {
            pod: watch.cell.from.to_string(),
            expected: expected.to_owned(),
            lines: lines.unwrap_or(new),
            longest_gap_ms: gap.map(|gap| gap.as_secs_f64() * 1000.0),
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

/// The longest time between two lines, from the last of the first `mark` on; none if there are not two. Only times that one clock gave are
/// compared.
fn longest_gap(log: &str, mark: usize) -> Option<Duration> {
    let times = log.lines().skip(mark.saturating_sub(1)).filter_map(|line| line.split_once(' ')?.0.parse().ok());
    let times: Vec<Timestamp> = times.collect();
    let gaps = times.windows(2).filter_map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).ok());
    gaps.max()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_last_line_before_the_mark() {
        let at = |millis: u32| format!("2026-11-22T10:00:0{}.{:03}000000Z a line\n", millis / 1000, millis % 1000);
        let log: String = [0, 3000, 3020, 4520, 4540].map(at).concat();
        let gap = |mark| longest_gap(&log, mark).map(|gap| gap.as_millis());
        assert_eq!(gap(0), Some(3000), "the container had no line then");
        assert_eq!(gap(1), Some(3000));
        assert_eq!(gap(2), Some(1500));
        assert_eq!(gap(3), Some(1500));
        assert_eq!(gap(4), Some(20));
        assert_eq!(gap(5), None, "no line came since");
    }
}
