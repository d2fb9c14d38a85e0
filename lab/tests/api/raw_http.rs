//! What no well-behaved client sends, and the answers to it.

use axum::http::{Request, header};
use kube::Error;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

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

/// Clients that begin and go: without a handshake, within a body, with a watch that they never read.
#[tokio::test]
async fn clients_that_vanish_are_nobodys_burden() {
    let cluster = Cluster::plain().await;
    let kubeconfig: Value = serde_yaml::from_str(&cluster.kubeconfig).unwrap();
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap().strip_prefix("http://").unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {token}\r\n");
    let beginnings = [
        String::new(),
        head(&format!("GET {PODS}")),
        head(&format!("POST {PODS}")) + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"metadata\"",
        head(&format!("POST {PODS}")) + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n{",
        head(&format!("GET {PODS}?watch=true")) + "\r\n",
        "\x16\x03\x01\x02\x00\x01\x00".to_owned(),
    ];
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut clients = Vec::new();
    for beginning in beginnings.iter().cycle().take(120) {
        let mut client = tokio::net::TcpStream::connect(server).await.unwrap();
        client.write_all(beginning.as_bytes()).await.unwrap();
        clients.push(client);
    }
    let list = || cluster.client.request::<Value>(Request::get(PODS).body(vec![]).unwrap());
    assert!(list().await.unwrap()["items"].is_array(), "slow clients hold nobody up");
    drop(clients);
    let begun = std::time::Instant::now();
    // The list's own connection may be kept; other tests of this process come and go with theirs.
    while descriptors() > before + 60 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "connections of gone clients stay open");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(list().await.unwrap()["items"].as_array().unwrap().len(), 0, "half a body makes no pod");
}

#[tokio::test]
async fn unknown_paths_verbs_and_forms() {
    assert_eq!(refused(Request::get("/apis/apps/v1/deployments").body(vec![]).unwrap()).await.0, 404);
    assert_eq!(refused(post("/api/v1/pods", "application/json", "{}")).await.0, 405);
    for lacking in ["attach", "portforward", "ephemeralcontainers"] {
        let (code, message) = refused(post(&format!("{PODS}/a/{lacking}"), "", "")).await;
        assert_eq!(code, 501);
        assert!(message.contains(lacking), "{message}");
    }
    // No server has these, such as what `kubectl scale` asks of a kind that cannot be scaled.
    assert_eq!(refused(Request::get(format!("{PODS}/a/scale")).body(vec![]).unwrap()).await.0, 404);
    assert_eq!(refused(Request::builder().method("BREW").uri(PODS).body(vec![]).unwrap()).await.0, 405);
    let spdy = Request::post(format!("{PODS}/a/exec?command=true&stdout=1")).header(header::UPGRADE, "SPDY/3.1");
    let (code, message) = refused(spdy.body(vec![]).unwrap()).await;
    assert_eq!(code, 400);
    assert!(message.contains("SPDY"), "{message}");
    let protobuf = Request::get(PODS).header(header::ACCEPT, "application/vnd.kubernetes.protobuf");
    assert_eq!(refused(protobuf.body(vec![]).unwrap()).await.0, 406);
}
