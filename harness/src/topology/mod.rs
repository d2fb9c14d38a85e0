//! Topologies as people write them: plain Kubernetes manifests of namespaces and pods.

use k8s_openapi::api::core::v1::Pod;

use crate::Problem;
use crate::plan::{Bindings, PodRef, Topology};

/// The pods in waves: those of one wave may be created at the same time; their arguments name addresses of earlier waves only.
pub fn waves(topology: &Topology) -> Vec<Vec<PodRef>> {
    vec![topology.pods.keys().cloned().collect()]
}

/// The pod as it is to be created: real namespace, placeholders in its arguments replaced.
///
/// # Errors
/// Placeholders whose pod has no address in `bindings`.
pub fn bind_pod(topology: &Topology, pod: &PodRef, bindings: &Bindings) -> Result<Pod, Vec<Problem>> {
    let mut bound = topology.pods.get(pod).cloned().unwrap_or_default();
    bound.metadata.namespace = bindings.namespaces.get(&pod.namespace).cloned();
    Ok(bound)
}
