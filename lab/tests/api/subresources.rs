//! Eviction and binding of pods, tokens of service accounts.

use axum::http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::{Api, Client, Error};
use netpol_lab::api::resources::{POD, SERVICE_ACCOUNT};
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};

fn post(path: &str, body: &Value) -> Request<Vec<u8>> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(body.to_string().into_bytes()).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_evicted_pod_ends_within_its_grace_period() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    cluster.run_pod("a");
    assert_eq!(code(pods.evict("none", &EvictParams::default()).await), 404);
    let dry = EvictParams {
        post_options: kube::api::PostParams { dry_run: true, ..Default::default() },
        ..Default::default()
    };
    pods.evict("a", &dry).await.unwrap();
    assert_eq!(pods.get("a").await.unwrap().metadata.deletion_timestamp, None);
    pods.evict("a", &EvictParams::default()).await.unwrap();
    let metadata = pods.get("a").await.unwrap().metadata;
    assert_eq!((metadata.deletion_timestamp.is_some(), metadata.deletion_grace_period_seconds), (true, Some(30)));
    let other = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "b"}});
    let path = "/api/v1/namespaces/default/pods/a/eviction";
    assert_eq!(code(cluster.client.request::<Value>(post(path, &other)).await), 400);
    assert_eq!(code(cluster.client.request::<Value>(Request::get(path).body(vec![]).unwrap()).await), 405);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.store.create(POD, "default", cluster::pod("a")).unwrap();
    let path = "/api/v1/namespaces/default/pods/a/binding";
    let to = |node: &str| json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    assert_eq!(code(cluster.client.request::<Value>(post(path, &to(""))).await), 400);
    let done: Value = cluster.client.request(post(path, &to("worker-2"))).await.unwrap();
    assert_eq!(done["status"], "Success");
    let pod = cluster.store.get(POD, "default", "a").unwrap();
    assert_eq!(pod.value()["spec"]["nodeName"], "worker-2");
    assert_eq!(pod.value()["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(code(cluster.client.request::<Value>(post(path, &to("worker-1"))).await), 409);
}

/// The user that a token belongs to.
async fn who(kubeconfig: &str) -> Result<Value, Error> {
    let client: Client = cluster::client(kubeconfig).await;
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answer: Value = client.request(post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)).await?;
    Ok(answer["status"]["userInfo"]["username"].clone())
}

#[tokio::test]
async fn every_service_account_has_a_token_of_its_own() {
    let cluster = Cluster::start().await;
    assert_eq!(who(&cluster.kubeconfig).await.unwrap(), "kubernetes-admin");
    assert_eq!(who(&cluster.kubeconfig_by_certificate).await.unwrap(), "kubernetes-admin");
    let mut tokens = Vec::new();
    for name in ["one", "two"] {
        let path = format!("/api/v1/namespaces/default/serviceaccounts/{name}/token");
        let request =
            json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": []}});
        assert_eq!(code(cluster.client.request::<Value>(post(&path, &request)).await), 404, "there is no {name}");
        cluster.store.create(SERVICE_ACCOUNT, "default", json!({"metadata": {"name": name}})).unwrap();
        let answer: Value = cluster.client.request(post(&path, &request)).await.unwrap();
        let token = answer["status"]["token"].as_str().unwrap().to_owned();
        let mut kubeconfig: Value = serde_yaml::from_str(&cluster.kubeconfig).unwrap();
        kubeconfig["users"][0]["user"]["token"] = token.clone().into();
        assert_eq!(who(&kubeconfig.to_string()).await.unwrap(), format!("system:serviceaccount:default:{name}"));
        kubeconfig["users"][0]["user"]["token"] = format!("{token}x").into();
        assert_eq!(code(who(&kubeconfig.to_string()).await), 401);
        tokens.push(token);
    }
    assert_ne!(tokens[0], tokens[1]);
}
