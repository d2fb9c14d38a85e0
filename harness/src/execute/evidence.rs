//! What a cluster looked like when a case failed, looked up before anything is cleaned away.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use serde_json::to_value;

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
    for pod in engine {
        let (name, api) =
            (pod.name_any(), Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default()));
        match api.logs(&name, &params).await {
            Ok(log) => drop(found.engine_logs.insert(name, log)),
            Err(error) => found.missing.push(format!("the log of {name}: {error}")),
        }
    }
}
