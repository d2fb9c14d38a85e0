//! Nodes that pods of the harness may run on.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::{ClusterError, persist};

/// A node that is Ready and takes ordinary pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyNode {
    /// Its name.
    pub name: String,
    /// Its InternalIPs.
    pub ips: Vec<IpAddr>,
}

/// The Ready nodes without a taint that keeps pods away, by name.
///
/// # Errors
/// [`ClusterError::Api`] when they cannot be listed.
pub async fn ready_nodes(client: &Client) -> Result<Vec<ReadyNode>, ClusterError> {
    let (api, all) = (Api::<Node>::all(client.clone()), ListParams::default());
    let listed = persist(|| api.list(&all)).await;
    let nodes = listed.map_err(|cause| ClusterError::Api {
        tried: "listing the cluster's nodes".into(),
        cause: Box::new(cause),
        paste: "get nodes".into(),
    })?;
    let mut ready: Vec<_> = nodes.into_iter().filter(takes_pods).map(describe).collect();
    ready.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(ready)
}

fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let spec = node.spec.as_ref();
    let tainted = spec
        .and_then(|spec| spec.taints.as_ref())
        .is_some_and(|taints| taints.iter().any(|taint| taint.effect != "PreferNoSchedule"));
    ready && !tainted && spec.and_then(|spec| spec.unschedulable) != Some(true)
}

fn describe(node: Node) -> ReadyNode {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let ips = internal.filter_map(|address| address.address.parse().ok()).collect();
    ReadyNode { name: node.name_any(), ips }
}
