//! Watches the API server: namespaces, pods and policies, each a list and a watch that start over when they break.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::world::{Change, Delta, Namespace, Pod, Policy};

/// Everything that the API server tells, from now on and for ever. Each kind begins with [`Delta::All`]; while a list is
/// fetched again the last known state stands (P28, P29).
pub fn changes(client: &Client) -> BoxStream<'static, Change> {
    futures::stream::select_all([
        kind::<ApiNamespace, _>(client, Namespace::read).map(Change::Namespaces).boxed(),
        kind::<ApiPod, _>(client, Pod::read).map(Change::Pods).boxed(),
        kind::<NetworkPolicy, _>(client, Policy::read).map(Change::Policies).boxed(),
    ])
    .boxed()
}

/// Watches one kind in all namespaces. Objects are reduced by `read` as they arrive, so that nothing else is kept.
pub(crate) fn kind<K, T>(client: &Client, read: fn(&K) -> T) -> impl Stream<Item = Delta<T>> + Send + use<K, T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    let name = K::plural(&());
    let events = watcher::watcher(Api::<K>::all(client.clone()), watcher::Config::default());
    let mut listed = Vec::new();
    events.backoff(Retry::default()).filter_map(move |event| {
        let delta = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                listed.push(read(&object));
                None
            }
            Ok(Event::InitDone) => Some(Delta::All(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => Some(Delta::Set(read(&object))),
            Ok(Event::Delete(object)) => Some(Delta::Gone(read(&object))),
            Err(error) => {
                tracing::warn!(kind = %name, %error, "watch broke; the last state stands until it is back");
                None
            }
        };
        std::future::ready(delta)
    })
}

/// Waits between attempts to reach the API server: 50 ms, doubled up to 2 s. A restarted server is found again soon, and
/// a node is one client among few.
#[derive(Debug, Default)]
struct Retry {
    attempts: u32,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Self::FIRST.saturating_mul(1 << self.attempts.min(10));
        self.attempts += 1;
        Some(wait.min(Self::LONGEST))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.attempts = 0;
    }
}
