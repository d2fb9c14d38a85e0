//! From a policy's creation to the first packet that is dropped, and from its deletion to the first that passes: through an API
//! server, the enforcer's watch, its compiler and the kernel.

use std::time::Instant;

use anyhow::Context;
use http::Request;
use kube::Client;
use netpol_lab::api::Store;
use netpol_lab::api::resources::{NAMESPACE, NETWORK_POLICY, POD};
use serde_json::{Value, json};

use super::cluster::{Size, address, namespace, pod, policy};
use super::control_plane::{ControlPlane, Enforcer};
use super::node::Node;
use super::probes::Probes;
use crate::report::{Report, Unit};
use crate::samples::Samples;

/// What the node holds beside the two pods that are measured.
const SIZE: Size = Size { pods: 100, namespaces: 10, policies: 100 };
/// Where those two are: no policy of the others is about them.
const MEASURED: &str = "measured";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/measured/networkpolicies";

/// Measures this many creations and deletions.
///
/// # Errors
/// Something on the way from the API server to the packets does not work.
pub(super) fn measure(changes: usize, report: &mut Report) -> anyhow::Result<()> {
    let node = Node::new(address(1), address(0))?;
    let store = Store::new();
    fill(&store).map_err(|status| anyhow::anyhow!("filling the API server: {status:?}"))?;
    let control_plane = ControlPlane::serve(&store)?;
    let _enforcer = Enforcer::start(&control_plane)?;
    let probes = Probes::start(&node)?;
    probes.first_passed(Instant::now()).context("before the first policy")?;
    let (mut created, mut deleted) = (Samples::default(), Samples::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(control_plane.client())?;
    for change in 0..changes {
        let name = format!("deny-{change}");
        // From before the request is sent: what the API server takes is part of it.
        let start = Instant::now();
        runtime.block_on(create(&client, &name))?;
        created.push(probes.first_dropped(start)?);
        let start = Instant::now();
        runtime.block_on(delete(&client, &name))?;
        deleted.push(probes.first_passed(start)?);
    }
    let at = format!("at {} pods and {} policies", SIZE.pods, SIZE.policies);
    report.durations(&format!("policy created to first packet dropped {at}"), &created, Some(5.0), Some(25.0));
    report.durations(&format!("policy deleted to first packet passed {at}"), &deleted, Some(5.0), Some(25.0));
    report.add("probes", probes.stop()?, Unit::PerSecond, None);
    Ok(())
}

fn fill(store: &Store) -> Result<(), netpol_lab::api::Status> {
    store.create(NAMESPACE, "", json!({ "metadata": { "name": MEASURED } }))?;
    for index in 0..SIZE.namespaces {
        store.create(NAMESPACE, "", namespace(index))?;
    }
    for index in 0..SIZE.pods {
        let mut pod = pod(SIZE, index);
        if index < 2 {
            pod["metadata"]["namespace"] = MEASURED.into();
        }
        store.create(POD, namespace_of(&pod), pod.clone())?;
    }
    for index in 0..SIZE.policies {
        let policy = policy(SIZE, index);
        store.create(NETWORK_POLICY, namespace_of(&policy), policy.clone())?;
    }
    Ok(())
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

async fn create(client: &Client, name: &str) -> anyhow::Result<()> {
    let policy = json!({ "metadata": { "name": name }, "spec": {
        "podSelector": { "matchLabels": { "app": "app-0" } }, "policyTypes": ["Ingress"],
    } });
    let request = Request::post(POLICIES).header("content-type", "application/json");
    client.request::<Value>(request.body(policy.to_string().into_bytes())?).await.context("creating a policy")?;
    Ok(())
}

async fn delete(client: &Client, name: &str) -> anyhow::Result<()> {
    let request = Request::delete(format!("{POLICIES}/{name}")).body(Vec::new())?;
    client.request::<Value>(request).await.context("deleting a policy")?;
    Ok(())
}
