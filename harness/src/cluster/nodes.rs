//! Nodes that pods of the harness may run on.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::{ClusterError, persist};

/// The label of a node that is no part of the pods' network.
pub const OUTSIDE_LABEL: &str = "netpol.dev/outside";

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

/// The Ready node outside the pods' network, if there is one: it carries [`OUTSIDE_LABEL`], and taints that keep ordinary pods away.
///
/// # Errors
/// [`ClusterError::Api`] when nodes cannot be listed.
pub async fn outside_node(client: &Client) -> Result<Option<ReadyNode>, ClusterError> {
    let (api, labelled) = (Api::<Node>::all(client.clone()), ListParams::default().labels(OUTSIDE_LABEL));
    let listed = persist(|| api.list(&labelled)).await;
    let nodes = listed.map_err(|cause| ClusterError::Api {
        tried: "listing the cluster's outside nodes".into(),
        cause: Box::new(cause),
        paste: format!("get nodes -l {OUTSIDE_LABEL}"),
    })?;
    Ok(nodes.into_iter().map(describe).next())
}

fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let spec = node.spec.as_ref();
    let outside = node.labels().contains_key(OUTSIDE_LABEL);
    let tainted = outside
        || spec
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
