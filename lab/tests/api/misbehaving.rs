//! What the API server does on request, as kube's clients meet it.

use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Error, ResourceExt};
use netpol_lab::api::misbehaviour::{Action, Behaviour};
use netpol_lab::api::resources::CONFIG_MAP;
use netpol_lab::api::{Part, Store};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(20);
const PATH: &str = "/netpol.dev/misbehaviour";

fn create(store: &Store, name: &str) {
    store.create(CONFIG_MAP, "default", json!({ "metadata": { "name": name } })).unwrap();
}

async fn send(cluster: &Cluster, method: Method, body: impl serde::Serialize) -> Result<Value, Error> {
    let body = serde_json::to_vec(&body).unwrap();
    cluster.client.request(Request::builder().method(method).uri(PATH).body(body).unwrap()).await
}

fn on_maps(behaviour: Behaviour) -> Behaviour {
    Behaviour { resources: vec!["configmaps".into()], ..behaviour }
}

/// The names that a watch from `version` hands out until it ends, or until `wanted` have come.
async fn watched(maps: &Api<ConfigMap>, version: &str, wanted: usize) -> Vec<String> {
    let events = maps.watch(&WatchParams::default(), version).await.unwrap();
    let named = events.map_ok(|event| match event {
        WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) => map.name_any(),
        WatchEvent::Error(status) => status.code.to_string(),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
    });
    timeout(SOON, named.take(wanted).try_collect()).await.expect("events").unwrap()
}

#[tokio::test]
async fn the_endpoint_is_there_only_where_it_was_asked_for() {
    let cluster = Cluster::start().await;
    assert!(matches!(send(&cluster, Method::GET, ()).await, Err(Error::Api(status)) if status.code == 404));

    let cluster = Cluster::misbehaving().await;
    let gone = on_maps(Behaviour { gone: true, ..Behaviour::default() });
    let set = send(&cluster, Method::PUT, &gone).await.unwrap();
    assert_eq!(serde_json::from_value::<Behaviour>(set).unwrap(), gone);
    assert_eq!(cluster.misbehaviour.get(), gone);
    send(&cluster, Method::DELETE, ()).await.unwrap();
    assert_eq!(cluster.misbehaviour.get(), Behaviour::default());
    for wrong in [json!({ "gone": 1 }), json!({ "colour": "red" }), json!({ "resources": ["cows"] })] {
        assert!(matches!(send(&cluster, Method::PUT, wrong).await, Err(Error::Api(status)) if status.code == 400));
    }
}

#[tokio::test]
async fn gone_cut_and_refused() {
    let cluster = Cluster::misbehaving().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "default");
    create(&cluster.store, "a");
    let version = cluster.store.version().to_string();
    let mut running = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    cluster.misbehaviour.set(on_maps(Behaviour { gone: true, ..Behaviour::default() }));
    let end = timeout(SOON, running.try_next()).await.unwrap().unwrap();
    assert!(matches!(&end, Some(WatchEvent::Error(status)) if status.code == 410), "{end:?}");
    assert_eq!(watched(&maps, &version, 1).await, ["410"]);

    cluster.misbehaviour.set(Behaviour::default());
    let mut running = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    send(&cluster, Method::POST, Action::CutWatches).await.unwrap();
    assert!(timeout(SOON, running.try_next()).await.unwrap().unwrap().is_none(), "closed without a word");

    cluster.misbehaviour.set(on_maps(Behaviour { cut_after_events: Some(2), ..Behaviour::default() }));
    ["b", "c", "d"].iter().for_each(|name| create(&cluster.store, name));
    assert_eq!(watched(&maps, &version, 9).await, ["b", "c"]);

    cluster.misbehaviour.set(on_maps(Behaviour { refuse_with: Some(503), ..Behaviour::default() }));
    assert!(matches!(maps.list(&ListParams::default()).await, Err(Error::Api(status)) if status.code == 503));
    assert!(secrets.list(&ListParams::default()).await.is_ok(), "another resource");
}

#[tokio::test]
async fn events_twice_reversed_late_and_lists_of_yesterday() {
    let cluster = Cluster::misbehaving().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let version = cluster.store.version().to_string();
    cluster.misbehaviour.set(Behaviour { stale_lists: true, ..Behaviour::default() });
    ["a", "b", "c"].iter().for_each(|name| create(&cluster.store, name));
    let stale = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!((stale.items.len(), stale.metadata.resource_version.as_deref()), (0, Some(version.as_str())));

    cluster.misbehaviour.set(Behaviour { repeat_events: 1, ..Behaviour::default() });
    assert_eq!(watched(&maps, &version, 6).await, ["a", "a", "b", "b", "c", "c"]);
    cluster.misbehaviour.set(Behaviour { reorder_events: 3, ..Behaviour::default() });
    assert_eq!(watched(&maps, &version, 3).await, ["c", "b", "a"]);
    cluster.misbehaviour.set(Behaviour { delay_ms: 300, ..Behaviour::default() });
    let asked = Instant::now();
    maps.list(&ListParams::default()).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

/// kube's watcher comes to the truth through all of it.
#[tokio::test]
async fn a_watcher_survives_an_outage_and_cut_watches() {
    let cluster = Cluster::misbehaving().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    create(&cluster.store, "a");
    let mut seen = watcher(maps.clone(), watcher::Config::default()).default_backoff().touched_objects().boxed();
    let mut until = async |value: &str| {
        let found = async {
            loop {
                // Errors are said and overcome.
                if let Some(Ok(map)) = seen.next().await
                    && map.data.is_some_and(|data| data.get("value").is_some_and(|found| found == value))
                {
                    break;
                }
            }
        };
        timeout(SOON, found).await.unwrap_or_else(|_| panic!("{value} never came"));
    };
    let change = |value: &str| {
        let set = |map: &mut Value| {
            map["data"] = json!({ "value": value });
            Ok(())
        };
        cluster.store.modify(CONFIG_MAP, "default", "a", Part::Spec, set).unwrap();
    };
    change("before");
    until("before").await;
    cluster.misbehaviour.cut_watches();
    change("after the cut");
    until("after the cut").await;
    send(&cluster, Method::POST, Action::Downtime { for_ms: 500 }).await.unwrap();
    let refused = async {
        while maps.list(&ListParams::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, refused).await.expect("connections are refused");
    change("during the outage");
    until("during the outage").await;
    assert!(maps.list(&ListParams::default()).await.is_ok(), "the same address as before");
}

#[tokio::test]
async fn without_tls_the_token_is_still_needed() {
    let cluster = Cluster::plain().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    assert!(cluster.kubeconfig.contains("http://") && maps.list(&ListParams::default()).await.is_ok());
    let nobody = crate::cluster::client(&cluster.kubeconfig.replace("token: ", "token: x")).await;
    let maps: Api<ConfigMap> = Api::namespaced(nobody, "default");
    assert!(matches!(maps.list(&ListParams::default()).await, Err(Error::Api(status)) if status.code == 401));
}
