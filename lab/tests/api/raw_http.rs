//! What no well-behaved client sends, and the answers to it.

use axum::http::{Request, header};
use kube::Error;
use serde_json::Value;

use crate::cluster::Cluster;

async fn refused(request: Request<Vec<u8>>) -> (u16, String) {
    let cluster = Cluster::start().await;
    cluster.run_pod("a");
    match cluster.client.request::<Value>(request).await.unwrap_err() {
        Error::Api(status) => (status.code, status.message),
        other => panic!("not a Status: {other}"),
    }
}

fn post(path: &str, media: &str, body: impl Into<Vec<u8>>) -> Request<Vec<u8>> {
    Request::post(path).header(header::CONTENT_TYPE, media).body(body.into()).unwrap()
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn malformed_huge_and_foreign_bodies() {
    assert_eq!(refused(post(PODS, "application/json", "{")).await.0, 400);
    assert_eq!(refused(post(PODS, "application/json", "[]")).await.0, 400);
    assert_eq!(refused(post(PODS, "application/json", vec![b' '; 4 << 20])).await.0, 413);
    assert_eq!(refused(post(PODS, "application/cbor", "x")).await.0, 415);
    assert_eq!(refused(post(PODS, "application/vnd.kubernetes.protobuf", "k8s\0\x0a\x7f")).await.0, 400);
    let other_kind = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    assert_eq!(refused(post(PODS, "application/json", other_kind)).await.0, 400);
}

#[tokio::test]
async fn unknown_paths_verbs_and_forms() {
    assert_eq!(refused(Request::get("/apis/apps/v1/deployments").body(vec![]).unwrap()).await.0, 404);
    assert_eq!(refused(post("/api/v1/pods", "application/json", "{}")).await.0, 405);
    let (code, message) = refused(post(&format!("{PODS}/a/portforward"), "", "")).await;
    assert_eq!(code, 501);
    assert!(message.contains("portforward"), "{message}");
    let spdy = Request::post(format!("{PODS}/a/exec?command=true&stdout=1")).header(header::UPGRADE, "SPDY/3.1");
    let (code, message) = refused(spdy.body(vec![]).unwrap()).await;
    assert_eq!(code, 400);
    assert!(message.contains("SPDY"), "{message}");
    let protobuf = Request::get(PODS).header(header::ACCEPT, "application/vnd.kubernetes.protobuf");
    assert_eq!(refused(protobuf.body(vec![]).unwrap()).await.0, 406);
}
