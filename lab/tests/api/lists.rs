//! Lists in pages and of earlier states, through kube-rs and by hand.

use axum::http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::{Error, ResourceExt};
use netpol_lab::api::resources::CONFIG_MAP;
use netpol_lab::api::{DeleteOptions, Part, Store};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn create(store: &Store, names: &[&str]) {
    for name in names {
        store.create(CONFIG_MAP, "default", json!({ "metadata": { "name": name } })).unwrap();
    }
}

fn change(store: &Store, name: &str, value: &str) {
    let change = |map: &mut Value| {
        map["data"] = json!({ "value": value });
        Ok(())
    };
    store.modify(CONFIG_MAP, "default", name, Part::Spec, change).unwrap();
}

fn names(list: &kube::api::ObjectList<ConfigMap>) -> Vec<String> {
    list.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn pages_of_one_list_show_one_state() {
    let cluster = Cluster::start().await;
    create(&cluster.store, &["a", "b", "c", "d", "e"]);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.metadata.remaining_item_count, Some(3));

    change(&cluster.store, "c", "changed");
    cluster.store.delete(CONFIG_MAP, "default", "d", &DeleteOptions::default()).unwrap();
    create(&cluster.store, &["ca"]);
    let token = first.metadata.continue_.as_deref().unwrap();
    let second = maps.list(&ListParams::default().limit(2).continue_token(token)).await.unwrap();
    assert_eq!(names(&second), ["c", "d"], "as it was when the first page was made");
    assert!(second.items[0].data.is_none());
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let token = second.metadata.continue_.as_deref().unwrap();
    let last = maps.list(&ListParams::default().limit(2).continue_token(token)).await.unwrap();
    assert_eq!((names(&last), last.metadata.continue_.as_deref()), (vec!["e".to_owned()], None));

    let selected = maps.list(&ListParams::default().limit(1).fields("metadata.name!=a")).await.unwrap();
    assert_eq!((names(&selected), selected.metadata.remaining_item_count), (vec!["b".to_owned()], None));
    let all = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(names(&all), ["a", "b", "c", "ca", "e"]);
}

#[tokio::test]
async fn a_list_that_is_continued_too_late_is_410() {
    let cluster = Cluster::start().await;
    create(&cluster.store, &["a", "b"]);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let first = maps.list(&ListParams::default().limit(1)).await.unwrap();
    for round in 0..9000 {
        change(&cluster.store, "b", &round.to_string());
    }
    let token = first.metadata.continue_.as_deref().unwrap();
    match maps.list(&ListParams::default().limit(1).continue_token(token)).await.unwrap_err() {
        Error::Api(status) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn versions_of_lists() {
    let cluster = Cluster::start().await;
    create(&cluster.store, &["a"]);
    let then = cluster.store.version();
    create(&cluster.store, &["b"]);
    let ask = |query: String| {
        let client = cluster.client.clone();
        let uri = format!("/api/v1/namespaces/default/configmaps?{query}");
        async move { client.request::<Value>(Request::get(uri).body(vec![]).unwrap()).await }
    };
    let count = |list: Value| list["items"].as_array().unwrap().len();
    assert_eq!(count(ask(format!("resourceVersion={then}&resourceVersionMatch=Exact")).await.unwrap()), 1);
    assert_eq!(count(ask(format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await.unwrap()), 2);
    assert_eq!(count(ask("resourceVersion=0&limit=1".into()).await.unwrap()), 2, "any version knows no pages");
    for (query, code) in [
        ("resourceVersionMatch=Exact".to_owned(), 422),
        ("resourceVersion=0&resourceVersionMatch=Exact".into(), 422),
        ("resourceVersion=1&resourceVersionMatch=Newest".into(), 400),
        ("sendInitialEvents=true".into(), 422),
        ("watch=true&sendInitialEvents=true".into(), 422),
        ("watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1".into(), 422),
        ("continue=nonsense".into(), 400),
        ("limit=many".into(), 400),
        (format!("resourceVersion={}", then + 1000), 504),
        (format!("resourceVersion={}&resourceVersionMatch=Exact", then + 1000), 504),
    ] {
        match ask(query.clone()).await {
            Err(Error::Api(status)) => assert_eq!(status.code, code, "{query}: {}", status.message),
            other => panic!("{query}: {other:?}"),
        }
    }
}
