//! Watches, by kube's own watcher and by hand.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use netpol_lab::api::resources::{CONFIG_MAP, POD};
use netpol_lab::api::{DeleteOptions, Filter, From, Store, WatchEvent as StoreEvent};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{self, Cluster};

const SOON: Duration = Duration::from_secs(5);

async fn follow(config: watcher::Config) {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let create = |name: &str| serde_json::from_value::<Pod>(cluster::pod(name)).unwrap();
    pods.create(&PostParams::default(), &create("before")).await.unwrap();
    let mut events = watcher(pods.clone(), config).boxed();
    let mut next = async || timeout(SOON, events.try_next()).await.expect("an event").unwrap().unwrap();
    assert!(matches!(next().await, watcher::Event::Init));
    assert!(matches!(next().await, watcher::Event::InitApply(pod) if pod.name_any() == "before"));
    assert!(matches!(next().await, watcher::Event::InitDone));
    pods.create(&PostParams::default(), &create("after")).await.unwrap();
    assert!(matches!(next().await, watcher::Event::Apply(pod) if pod.name_any() == "after"));
    pods.delete("before", &DeleteParams::default()).await.unwrap();
    assert!(matches!(next().await, watcher::Event::Delete(pod) if pod.name_any() == "before"));
}

#[tokio::test]
async fn a_watcher_that_lists_first() {
    follow(watcher::Config::default()).await;
}

#[tokio::test]
async fn a_watcher_that_streams_the_list() {
    follow(watcher::Config::default().streaming_lists()).await;
}

async fn lines(client: &Client, uri: &str) -> impl futures::Stream<Item = Value> + Unpin {
    let request = axum::http::Request::get(uri).body(Vec::new()).unwrap();
    let stream = client.request_stream(request).await.unwrap();
    stream.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).boxed()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps?watch=true";

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.store.create(CONFIG_MAP, "default", json!({ "metadata": { "name": name } })).unwrap();
    }
    let parameters =
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let events: Vec<Value> =
        timeout(SOON, lines(&cluster.client, &format!("{MAPS}&{parameters}")).await.collect()).await.unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"], "the last one is said at the timeout");
    let closing = &events[2]["object"]["metadata"];
    assert_eq!(closing["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(closing["resourceVersion"], cluster.store.version().to_string());
    assert!(events[3]["object"]["metadata"]["annotations"].is_null());
}

#[tokio::test]
async fn a_watch_goes_on_from_a_version_through_its_selector() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let map = |colour: &str| json!({ "metadata": { "name": "a", "labels": { "colour": colour } } });
    cluster.store.create(CONFIG_MAP, "default", map("red")).unwrap();
    let version = cluster.store.version().to_string();
    for colour in ["blue", "green", "blue"] {
        let object = map(colour);
        cluster.store.update(CONFIG_MAP, "default", "a", netpol_lab::api::Part::Spec, object).unwrap();
    }
    cluster.store.delete(CONFIG_MAP, "default", "a", &DeleteOptions::default()).unwrap();
    let parameters = WatchParams::default().labels("colour=blue").timeout(1);
    let events: Vec<_> = maps.watch(&parameters, &version).await.unwrap().try_collect().await.unwrap();
    let seen: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            WatchEvent::Added(_) => Some("added"),
            WatchEvent::Modified(_) => Some("modified"),
            WatchEvent::Deleted(_) => Some("deleted"),
            WatchEvent::Error(_) => Some("error"),
            WatchEvent::Bookmark(_) => None,
        })
        .collect();
    assert_eq!(seen, ["added", "deleted", "added", "deleted"]);
}

#[tokio::test]
async fn forgotten_versions_are_410() {
    let cluster = Cluster::start().await;
    cluster.store.create(CONFIG_MAP, "default", json!({ "metadata": { "name": "a" } })).unwrap();
    let version = cluster.store.version();
    let mut slow = cluster.store.watch(CONFIG_MAP, Filter::default(), From::Version(version)).unwrap();
    for round in 0..9000 {
        touch(&cluster.store, round);
    }
    assert_eq!(slow.next().await.unwrap_err().code, 410);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let mut gone = maps.watch(&WatchParams::default(), &version.to_string()).await.unwrap().boxed();
    let first = timeout(SOON, gone.try_next()).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(&first, WatchEvent::Error(status) if status.code == 410 && status.reason == "Expired"),
        "{first:?}"
    );
    assert!(gone.try_next().await.unwrap().is_none(), "nothing comes after it");
    let list = maps.list(&Default::default()).await.unwrap();
    assert_eq!(list.metadata.resource_version, Some(cluster.store.version().to_string()));
}

fn touch(store: &Store, round: usize) {
    store
        .modify(CONFIG_MAP, "default", "a", netpol_lab::api::Part::Spec, |map| {
            map["data"] = json!({ "round": round.to_string() });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn watchers_in_the_same_process_see_every_change_in_order() {
    let cluster = Cluster::start().await;
    let store = &cluster.store;
    let mut watch = store.watch(POD, Filter::default(), From::Now).unwrap();
    cluster.run_pod("a");
    store.delete(POD, "default", "a", &DeleteOptions { grace_period_seconds: Some(5), ..Default::default() }).unwrap();
    store.delete(POD, "default", "a", &DeleteOptions { grace_period_seconds: Some(0), ..Default::default() }).unwrap();
    let mut versions = Vec::new();
    for expected in ["added", "modified", "terminating", "deleted"] {
        let event = timeout(SOON, watch.next()).await.unwrap().unwrap();
        let seen = match &event {
            StoreEvent::Added(_) => "added",
            StoreEvent::Modified(pod) if pod.is_terminating() => "terminating",
            StoreEvent::Modified(_) => "modified",
            StoreEvent::Deleted(_) => "deleted",
        };
        assert_eq!(seen, expected);
        versions.push(event.object().resource_version());
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(watch.resource_version(), Some(store.version()));
}

/// A watcher that takes nothing keeps a few events alive, whatever happens meanwhile, and is told 410 when it goes on.
#[tokio::test]
async fn a_watcher_that_does_not_read_is_bounded() {
    let cluster = Cluster::start().await;
    cluster.store.create(CONFIG_MAP, "default", json!({ "metadata": { "name": "a" } })).unwrap();
    let first = cluster.store.get(CONFIG_MAP, "default", "a").unwrap();
    let mut reading = lines(&cluster.client, MAPS).await;
    assert_eq!(timeout(SOON, reading.next()).await.unwrap().unwrap()["type"], "ADDED");
    let value = "x".repeat(4096);
    // More than the history and what the two ends' sockets take in.
    for round in 0..20_000 {
        let change = |map: &mut Value| {
            map["data"] = json!({ "round": round.to_string(), "value": value });
            Ok(())
        };
        cluster.store.modify(CONFIG_MAP, "default", "a", netpol_lab::api::Part::Spec, change).unwrap();
        tokio::task::yield_now().await;
    }
    // Only this test and nobody's queue holds the first version: the history has forgotten it.
    assert_eq!(std::sync::Arc::strong_count(&first), 1);
    let rest = async {
        while let Some(line) = reading.next().await {
            if line["type"] == "ERROR" {
                return line["object"]["code"].as_u64();
            }
        }
        None
    };
    assert_eq!(timeout(SOON * 6, rest).await.unwrap(), Some(410));
}
