//! Pods and namespaces, reduced to what enforcement needs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Namespace as ApiNamespace, Pod as ApiPod, PodSpec};

use super::Labels;
use super::policies::{NamedPort, Protocol};

/// The label that every namespace carries with its own name (N27).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespaced name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The object's name within it.
    pub name: String,
}

impl ObjectKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A namespace: its labels, always with [`NAMESPACE_NAME_LABEL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

impl Namespace {
    /// Reads a namespace. An object without a name gives one with an empty name, which nothing refers to.
    pub fn read(object: &ApiNamespace) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        let mut labels = object.metadata.labels.clone().unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        Self { name, labels }
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Tells this pod from another that had the same name (P16).
    pub uid: String,
    /// Its labels.
    pub labels: Labels,
    /// The node that it is bound to; none while it is not scheduled.
    pub node: Option<String>,
    /// Succeeded or Failed: its address may belong to another pod by now (P16).
    pub completed: bool,
    /// It has a deletion timestamp; it is enforced, and a peer, until it is gone (P17).
    pub terminating: bool,
    /// It shares its node's address: never a subject, never a selector's peer (P18).
    pub host_network: bool,
    /// Its addresses; empty until it has one (P19).
    pub addresses: BTreeSet<IpAddr>,
    /// When it was created, in RFC 3339; decides between two pods that claim one address.
    pub created: String,
    /// The ports that its containers name.
    pub ports: Vec<ContainerPort>,
}

/// A named port of a container (N40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// The name that policies refer to.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

impl Pod {
    /// Reads a pod. What it leaves out stays empty; an address that does not parse is left out, so that the pod stays
    /// closed.
    pub fn read(object: &ApiPod) -> Self {
        let metadata = &object.metadata;
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let addresses = status
            .into_iter()
            .flat_map(|status| {
                let all = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
                all.chain(status.pod_ip.as_deref())
            })
            .filter_map(|text| text.parse().ok())
            .collect();
        let ports = spec.map(read_ports).unwrap_or_default();
        Self {
            key: ObjectKey::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            uid: metadata.uid.clone().unwrap_or_default(),
            labels: metadata.labels.clone().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()),
            completed: matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")),
            terminating: metadata.deletion_timestamp.is_some(),
            host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
            addresses,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
            ports,
        }
    }

    /// The number that the pod has for a port's name and protocol: that of the first container that says so (N40, N41).
    pub fn port(&self, named: &NamedPort) -> Option<u16> {
        let same = |port: &&ContainerPort| port.name == named.name && port.protocol == named.protocol;
        self.ports.iter().find(same).map(|port| port.number)
    }

    /// Whether policies can see it at all: as a subject on its own node, and as a peer of selectors on every node
    /// (P16, P18).
    pub fn is_selectable(&self) -> bool {
        !self.completed && !self.host_network
    }
}

/// The named ports of what runs as long as the pod does: its containers, then init containers that restart always. Other init
/// containers have ended before the pod serves anybody, and Services do not resolve their ports either.
fn read_ports(spec: &PodSpec) -> Vec<ContainerPort> {
    let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(stays);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(ContainerPort {
                name: port.name.clone().filter(|name| !name.is_empty())?,
                protocol: Protocol::read(port.protocol.as_deref())?,
                number: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}
