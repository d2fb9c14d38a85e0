//! How long pods take to run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::try_join_all;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::{Value, json};

use super::child::Lab;

/// Pods that do not run after this long are not measured.
const WITHIN: Duration = Duration::from_secs(120);

/// Creates pods in a namespace of their own, all at once, and waits until every one is Running. From the first request
/// to the last event.
pub(super) async fn start(lab: &Lab, namespace: &str, count: usize) -> anyhow::Result<Duration> {
    let client = lab.client()?;
    let post = |path: String, body: Value| {
        let client = client.clone();
        async move {
            let request = Request::post(path).header("content-type", "application/json");
            client.request::<Value>(request.body(body.to_string().into_bytes())?).await.context("cannot create a pod")
        }
    };
    post("/api/v1/namespaces".into(), json!({ "metadata": { "name": namespace } })).await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let mut events = client.request_stream(Request::get(format!("{path}?watch=true")).body(Vec::new())?).await?.lines();
    let started = Instant::now();
    let pod = |number: usize| {
        let container = json!({ "name": "agent", "image": "netpol", "args": ["agent", "server", "--port", "8888"] });
        json!({ "metadata": { "name": format!("pod-{number}") }, "spec": { "containers": [container] } })
    };
    let created = try_join_all((0..count).map(|number| post(path.clone(), pod(number))));
    let mut running = BTreeSet::new();
    let all_run = async {
        while let Some(line) = events.try_next().await? {
            let event: Value = serde_json::from_str(&line)?;
            let pod = &event["object"];
            if pod["status"]["phase"] == "Running" {
                running.insert(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            }
            if running.len() == count {
                return Ok(started.elapsed());
            }
        }
        bail!("the watch ended when {} of {count} pods were running", running.len())
    };
    let measured = async { tokio::try_join!(created, all_run) };
    let (_, took) = tokio::time::timeout(WITHIN, measured).await.context("not all pods run")??;
    Ok(took)
}
