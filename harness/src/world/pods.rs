//! Pods on their way in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use tokio::time::Instant;

use super::WorldError;
use crate::cluster::{Cluster, ObjectError};
use crate::waits;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(50);

/// A real pod: namespace and name.
pub(super) type RealName = (String, String);

/// The addresses of these pods of a world, once all of them run.
///
/// # Errors
/// [`WorldError::Late`] that says what each of the others is waiting for.
pub(super) async fn until_running(
    cluster: &Cluster,
    world: u32,
    wanted: &BTreeSet<RealName>,
) -> Result<BTreeMap<RealName, Vec<IpAddr>>, WorldError> {
    let selector = format!("netpol.dev/run={},netpol.dev/world={world}", cluster.run);
    let config = watcher::Config::default().labels(&selector);
    let pods = watcher(Api::<Pod>::all(cluster.client.clone()), config).default_backoff().applied_objects();
    let mut running = BTreeMap::new();
    let mut others = BTreeMap::new();
    let waited = tokio::time::timeout(waits::PODS_RUN.limit, collect(pods, wanted, &mut running, &mut others)).await;
    if waited.is_ok() {
        return Ok(running);
    }
    let missing = wanted.iter().filter(|name| !running.contains_key(*name));
    let states = missing.clone().map(|name| {
        let state = others.get(name).map_or("not seen at all", String::as_str);
        format!("pod {} ({state})", name.1)
    });
    let paste = missing.clone().next().map(|(ns, pod)| format!("describe pod -n {ns} {pod}")).unwrap_or_default();
    Err(WorldError::Late { what: states.collect::<Vec<_>>().join(", "), wait: waits::PODS_RUN, paste })
}

async fn collect(
    pods: impl Stream<Item = Result<Pod, watcher::Error>>,
    wanted: &BTreeSet<RealName>,
    running: &mut BTreeMap<RealName, Vec<IpAddr>>,
    others: &mut BTreeMap<RealName, String>,
) {
    let mut pods = pin!(pods);
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod.inspect_err(|error| tracing::debug!(%error, "watching pods")) else { continue };
        let name = (pod.namespace().unwrap_or_default(), pod.name_any());
        if !wanted.contains(&name) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        match addresses(&pod) {
            Some(ips) => _ = running.insert(name, ips),
            None => _ = others.insert(name, describe(&pod)),
        }
        if running.len() == wanted.len() {
            return;
        }
    }
}

/// A running pod's addresses.
fn addresses(pod: &Pod) -> Option<Vec<IpAddr>> {
    let status = pod.status.as_ref()?;
    let ready = status.container_statuses.as_ref()?.iter().all(|container| container.ready);
    let ips: Vec<_> = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    (status.phase.as_deref() == Some("Running") && ready && !ips.is_empty()).then_some(ips)
}

/// Phase and reason, as `kubectl get pods` would show them.
fn describe(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let reasons = status.container_statuses.iter().flatten().filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some(format!("{}: {}", waiting.reason.clone()?, waiting.message.clone().unwrap_or_default()))
    });
    let reasons: Vec<_> = reasons.collect();
    format!("{} {}", status.phase.unwrap_or_else(|| "no phase".into()), reasons.join("; ")).trim().to_owned()
}

/// Deletes a pod and waits until it is gone.
pub(super) async fn delete_and_wait(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), WorldError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let params = DeleteParams::default();
    let deleted = kube::runtime::wait::delete::delete_and_finalize(pods, name, &params);
    match tokio::time::timeout(waits::OBJECTS_GONE.limit, deleted).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::runtime::wait::delete::Error::Delete(cause))) => Err(WorldError::Object(ObjectError::Api {
            verb: "delete",
            kind: "Pod".into(),
            name: name.into(),
            cause: Box::new(cause),
            paste: format!("get pod -n {namespace} {name} -o yaml"),
        })),
        Ok(Err(_)) | Err(_) => Err(WorldError::Late {
            what: format!("pod {name} to be gone"),
            wait: waits::OBJECTS_GONE,
            paste: format!("get pod -n {namespace} {name} -o yaml"),
        }),
    }
}

/// Waits until a pod is as `state` says.
pub(super) async fn until(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    state: &str,
    fits: impl Fn(&Pod) -> bool,
) -> Result<(), WorldError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let reached = kube::runtime::wait::await_condition(pods, name, |pod: Option<&Pod>| pod.is_some_and(&fits));
    match tokio::time::timeout(waits::PODS_RUN.limit, reached).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(WorldError::Late {
            what: format!("pod {name} to be {state}"),
            wait: waits::PODS_RUN,
            paste: format!("get pod -n {namespace} {name} -o yaml"),
        }),
    }
}

/// Whether every container has ended, and well.
pub(super) fn has_completed(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
}

/// Whether its containers run, and were restarted more often than `before`.
pub(super) fn has_restarted(pod: &Pod, before: i32) -> bool {
    addresses(pod).is_some() && restart_count(pod) > before
}

fn restart_count(pod: &Pod) -> i32 {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

/// How often a pod's containers were restarted so far.
pub(super) async fn restarts(cluster: &Cluster, namespace: &str, name: &str) -> Result<i32, WorldError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let cause = |cause| WorldError::Api { tried: "reading a pod", cause: Box::new(cause) };
    Ok(restart_count(&crate::cluster::persist(|| pods.get(name)).await.map_err(cause)?))
}

/// Waits until no pod of this run is in the network of a node any more.
pub(super) async fn until_node_ports_are_free(cluster: &Cluster) -> Result<(), WorldError> {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let ours = ListParams::default().labels(&format!("netpol.dev/run={}", cluster.run));
    let start = Instant::now();
    loop {
        let cause = |cause| WorldError::Api { tried: "listing pods in nodes' networks", cause: Box::new(cause) };
        let there = crate::cluster::persist(|| pods.list(&ours)).await.map_err(cause)?;
        let in_node = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        let Some(pod) = there.iter().find(in_node) else { return Ok(()) };
        if start.elapsed() > waits::OBJECTS_GONE.limit {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            return Err(WorldError::Late {
                what: format!("pod {name}, which listens on ports of its node, to be gone"),
                wait: waits::OBJECTS_GONE,
                paste: format!("get pod -n {namespace} {name} -o yaml"),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}
