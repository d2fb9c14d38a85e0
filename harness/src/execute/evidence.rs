//! What a cluster looked like when a case failed, looked up before anything is cleaned away: policies, pods, the engine's log, and
//! what its kernels hold.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{AttachParams, ListParams, LogParams};
use kube::{Api, ResourceExt};
use serde_json::to_value;
use tokio::io::AsyncReadExt;

use super::Context;
use crate::report::{CaseEvidence, PodEvidence};
use crate::waits;
use crate::world::World;

/// Lines of an engine's log that are kept.
const LINES: i64 = 100;

/// Policies, pods and the engine's last words. What cannot be had in [`waits::EVIDENCE`] is said in `missing`: it must not change
/// a verdict.
pub(super) async fn gather(context: &Context, world: &World) -> CaseEvidence {
    let mut found = CaseEvidence::default();
    if tokio::time::timeout(waits::EVIDENCE.limit, look_up(context, world, &mut found)).await.is_err() {
        found.missing.push(format!("the rest could not be had within {}", waits::EVIDENCE));
    }
    found
}

async fn look_up(context: &Context, world: &World, found: &mut CaseEvidence) {
    let (client, all) = (&context.cluster.client, ListParams::default());
    for namespace in world.bindings.namespaces.values() {
        match Api::<NetworkPolicy>::namespaced(client.clone(), namespace).list(&all).await {
            Ok(policies) => {
                let bare = policies.items.into_iter().map(|mut policy| {
                    policy.metadata.managed_fields = None;
                    policy
                });
                found.policies.extend(bare.filter_map(|policy| to_value(policy).ok()));
            }
            Err(error) => found.missing.push(format!("policies of {namespace}: {error}")),
        }
    }
    for (pod, bound) in &world.bindings.pods {
        let namespace = world.bindings.namespaces.get(&pod.namespace).cloned().unwrap_or_default();
        let there = Api::<Pod>::namespaced(client.clone(), &namespace).get_opt(&pod.name).await;
        let labels = there.ok().flatten().map(|pod| pod.labels().clone()).unwrap_or_default();
        let addresses = bound.ips.iter().map(ToString::to_string).collect();
        let at = PodEvidence { namespace, addresses, node: bound.node.clone(), labels };
        found.pods.insert(pod.to_string(), at);
    }
    let Some(plugin) = &context.cluster.plugin else { return };
    let engine = match Api::<Pod>::all(client.clone()).list(&all).await {
        Ok(pods) => pods.items.into_iter().filter(|pod| plugin.owns(&pod.name_any())),
        Err(error) => return found.missing.push(format!("the policy engine's pods: {error}")),
    };
    let params = LogParams { tail_lines: Some(LINES), ..LogParams::default() };
    let addresses: Vec<String> = found.pods.values().flat_map(|pod| pod.addresses.clone()).collect();
    for pod in engine {
        let (name, api) =
            (pod.name_any(), Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default()));
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| &container.name);
        for container in containers {
            let log = format!("{name}.{container}");
            match api.logs(&name, &LogParams { container: Some(container.clone()), ..params.clone() }).await {
                Ok(lines) => drop(found.engine_logs.insert(log, lines)),
                Err(error) => found.missing.push(format!("the log of {log}: {error}")),
            }
        }
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        if plugin.shows_its_kernel() {
            match kernel(&api, &name, &addresses).await {
                Ok(held) => drop(found.kernels.insert(node, held)),
                Err(why) => found.missing.push(format!("what the kernel of {node} holds: {why}")),
            }
        }
    }
}

/// What the kernel of an enforcer's node holds: its rules, and the connections of these addresses.
async fn kernel(enforcers: &Api<Pod>, pod: &str, addresses: &[String]) -> Result<String, String> {
    let of_address = addresses.iter().flat_map(|address| ["--address", address]);
    let command: Vec<&str> = ["netpol", "inspect"].into_iter().chain(of_address).collect();
    let params = AttachParams::default().stdout(true).stderr(true).container("enforcer");
    let mut process = enforcers.exec(pod, command, &params).await.map_err(|error| error.to_string())?;
    let (Some(mut stdout), Some(mut stderr)) = (process.stdout(), process.stderr()) else {
        return Err("the API server gave no stdout or stderr".to_owned());
    };
    let (mut held, mut complaint) = (String::new(), String::new());
    let read = tokio::try_join!(stdout.read_to_string(&mut held), stderr.read_to_string(&mut complaint));
    read.map_err(|error| error.to_string())?;
    if held.is_empty() { Err(complaint.trim().to_owned()) } else { Ok(held) }
}
