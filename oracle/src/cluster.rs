//! A cluster as policies see it, and the flows between its ends.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy;

/// Labels of a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// Everything that decides about flows.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// By name. The label `kubernetes.io/metadata.name` is implied (N27).
    pub namespaces: BTreeMap<String, Namespace>,
    /// By name.
    pub pods: BTreeMap<PodName, Pod>,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// In any order (N12).
    pub policies: Vec<NetworkPolicy>,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels.
    pub labels: Labels,
}

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A running pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, at most one per family.
    pub ips: Vec<IpAddr>,
    /// The node that it runs on.
    pub node: String,
    /// The ports of its containers.
    pub ports: Vec<PodPort>,
    /// Whether it shares its node's network: then it is node traffic, neither subject nor selector peer (N56).
    pub host_network: bool,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// Its name, which policies may use (N40).
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The addresses that others see its traffic come from.
    pub ips: Vec<IpAddr>,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The default (N37).
    Tcp,
    /// Datagrams.
    Udp,
    /// Optional per plugin (N46).
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

/// What a flow consists of; ports are those of the receiving pod, after any Service (N45).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// A connection to this port.
    Tcp(u16),
    /// Datagrams to this port.
    Udp(u16),
    /// An association to this port.
    Sctp(u16),
    /// Echo requests (N48).
    Icmp,
}

impl Traffic {
    /// Protocol and port, where the traffic has any.
    pub fn port(self) -> Option<(Protocol, u16)> {
        match self {
            Traffic::Tcp(port) => Some((Protocol::Tcp, port)),
            Traffic::Udp(port) => Some((Protocol::Udp, port)),
            Traffic::Sctp(port) => Some((Protocol::Sctp, port)),
            Traffic::Icmp => None,
        }
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Where a flow begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A pod.
    Pod(PodName),
    /// A process on a node, by the node's name.
    Node(String),
    /// Anything else that has an address.
    Outside(IpAddr),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Pod(name) => write!(f, "pod {name}"),
            End::Node(name) => write!(f, "node {name}"),
            End::Outside(address) => write!(f, "{address}"),
        }
    }
}

/// A new connection that somebody attempts. Replies belong to it and need no judgement of their own (N15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Who opens it.
    pub from: End,
    /// Who receives it.
    pub to: End,
    /// With what.
    pub traffic: Traffic,
    /// Over which of the ends' addresses.
    pub family: Family,
}
