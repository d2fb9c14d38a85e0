//! Watches the API server: namespaces, pods and policies, each a list and a watch that start over when they break.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::stages::PolicyReader;
use crate::staleness::Staleness;
use crate::world::{Change, Delta, Namespace, Pod, RawPolicy};

/// Everything that the API server tells, from now on and for ever. Each kind begins with [`Delta::All`]; while a list is
/// fetched again the last known state stands (P28, P29).
pub(crate) fn changes(client: &Client, read_policy: PolicyReader, staleness: &Staleness) -> BoxStream<'static, Change> {
    futures::stream::select_all([
        kind::<ApiNamespace, _, _>(client, Namespace::read, staleness).map(Change::Namespaces).boxed(),
        kind::<ApiPod, _, _>(client, Pod::read, staleness).map(Change::Pods).boxed(),
        kind::<RawPolicy, _, _>(client, read_policy, staleness).map(Change::Policies).boxed(),
    ])
    .boxed()
}

/// Watches one kind in all namespaces. Objects are reduced by `read` as they arrive, so that nothing else is kept.
pub(crate) fn kind<K, T, R>(
    client: &Client,
    read: R,
    staleness: &Staleness,
) -> impl Stream<Item = Delta<T>> + Send + use<K, T, R>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    R: Fn(&K) -> T + Send + 'static,
{
    let name = K::plural(&());
    let events = watcher::watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    let staleness = staleness.clone();
    staleness.begin(&name);
    let mut listed = Vec::new();
    // The same trouble is told once, not at every attempt.
    let mut trouble = String::new();
    events.backoff(Retry::default()).filter_map(move |event| {
        match &event {
            // An attempt begins with it, before anybody is reached.
            Ok(Event::Init) => {}
            Ok(_) => staleness.heard(&name),
            Err(_) => staleness.broke(&name),
        }
        let delta = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                listed.push(read(&object));
                None
            }
            Ok(Event::InitDone) => {
                if !std::mem::take(&mut trouble).is_empty() {
                    tracing::info!(kind = %name, "watch is back");
                }
                Some(Delta::All(std::mem::take(&mut listed)))
            }
            Ok(Event::Apply(object)) => Some(Delta::Set(read(&object))),
            Ok(Event::Delete(object)) => Some(Delta::Gone(read(&object))),
            Err(error) => {
                let text = error.to_string();
                if text != trouble {
                    tracing::warn!(kind = %name, error = text, "watch broke; the last state stands until it is back");
                    trouble = text;
                }
                None
            }
        };
        std::future::ready(delta)
    })
}

/// Waits between attempts to reach the API server: 50 ms, doubled up to 2 s. A restarted server is found again soon, and
/// a node is one client among few.
///
/// A watcher begins every attempt with an event, before it has reached anybody: success is that nothing has failed for a
/// while, not that something was heard.
#[derive(Debug, Default)]
struct Retry {
    attempts: u32,
    failed: Option<Instant>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);
    /// After this long without a failure the next one is a new one.
    const CALM: Duration = Duration::from_secs(10);

    fn wait(&mut self, now: Instant) -> Duration {
        if self.failed.is_some_and(|last| now.duration_since(last) > Self::CALM) {
            self.attempts = 0;
        }
        self.failed = Some(now);
        let wait = Self::FIRST.saturating_mul(1 << self.attempts.min(10));
        self.attempts += 1;
        wait.min(Self::LONGEST)
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.wait(Instant::now()))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_and_a_new_failure_begins_anew() {
        let (mut retry, mut now) = (Retry::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = retry.wait(now);
            retry.reset();
            now += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(retry.wait(now + Duration::from_secs(11)), Retry::FIRST);
    }
}
