//! Policies as the enforcer understands them: directions settled by N6–N9, selectors and addresses parsed.

use std::fmt;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Selector;
use super::pods::ObjectKey;
use super::rules;

/// A direction, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// Both, in the order in which packets of one node meet them: first the source's, then the destination's.
    pub const BOTH: [Self; 2] = [Self::Egress, Self::Ingress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// One NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Tells this policy from another that had the same name.
    pub uid: String,
    /// The generation of its spec; refusals are logged once for each.
    pub generation: i64,
    /// Which pods of its namespace it selects (N10, N11).
    pub subject: Selector,
    /// Its ingress rules if it isolates ingress; none if it leaves that direction alone (N9).
    pub ingress: Option<Vec<Rule>>,
    /// The same for egress.
    pub egress: Option<Vec<Rule>>,
    /// What in it is invalid or not supported. If there is anything, the policy isolates the pods that it selects and
    /// allows nothing: other policies may still allow, since they only ever add (N12, P31).
    pub refused: Vec<String>,
}

/// One rule: peer and port must both match (N19).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The peers; none means any peer, also outside the cluster (N20).
    pub peers: Option<Vec<Peer>>,
    /// The ports; none means any port of any protocol, ICMP included (N21, N48).
    pub ports: Option<Vec<Port>>,
}

/// Who may talk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Pods by label (N22–N24).
    Pods {
        /// The namespaces that they are in; none means the policy's own (N22).
        namespaces: Option<Selector>,
        /// Their own labels (N23: an absent selector is one that matches every pod).
        pods: Selector,
    },
    /// Addresses (N29).
    Block(IpBlock),
}

/// A CIDR with holes, host bits cleared (N29, P11).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpBlock {
    /// The addresses that it covers.
    pub cidr: IpNet,
    /// The holes in it. They limit this block alone, no other peer (N30, P9).
    pub except: Vec<IpNet>,
}

/// A port of the receiving pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// By number.
    Range(PortRange),
    /// By the name that each receiving pod has for it (N40, N41).
    Named(NamedPort),
}

/// Whatever the receiving pod calls by this name, if the protocol is the same (N39, N40).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
}

/// Ports of one protocol, both ends included (N38, N43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// A transport protocol that rules can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Protocol 6.
    Tcp,
    /// Protocol 17.
    Udp,
    /// Protocol 132.
    Sctp,
}

impl Protocol {
    /// Reads the API's name; absent means TCP (N37). None if it is no protocol of NetworkPolicy.
    pub fn read(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl Policy {
    /// Reads a policy. It never fails: what cannot be read makes the policy refused, which closes (P31).
    pub fn read(object: &NetworkPolicy) -> Self {
        Self::from_spec(&object.metadata, &object.spec.clone().unwrap_or_default(), Vec::new())
    }

    /// Reads a policy in which this much is refused already.
    pub(super) fn from_spec(metadata: &ObjectMeta, spec: &NetworkPolicySpec, mut refused: Vec<String>) -> Self {
        let subject = match spec.pod_selector.as_ref().map(Selector::read).transpose() {
            Ok(subject) => subject.unwrap_or_default(),
            // Nobody can tell whom it selects: it closes the namespace rather than nobody.
            Err(error) => {
                refused.push(format!("spec.podSelector: {error}"));
                Selector::default()
            }
        };
        let (isolates_ingress, isolates_egress) = directions(spec, &mut refused);
        let ingress = rules::read_ingress(spec.ingress.as_deref().unwrap_or_default(), isolates_ingress, &mut refused);
        let egress = rules::read_egress(spec.egress.as_deref().unwrap_or_default(), isolates_egress, &mut refused);
        let open = |isolates: bool, rules: Vec<Rule>| match (isolates, refused.is_empty()) {
            (false, _) => None,
            (true, true) => Some(rules),
            (true, false) => Some(Vec::new()),
        };
        Self {
            key: ObjectKey::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            subject,
            ingress: open(isolates_ingress, ingress),
            egress: open(isolates_egress, egress),
            refused,
        }
    }

    /// Its rules for one direction; none if it leaves that direction alone.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// Which directions a spec isolates: (ingress, egress). Unset or empty policyTypes: ingress always, egress if there is
/// an egress rule (N6–N8). A type that is not known closes both (P31).
fn directions(spec: &NetworkPolicySpec, refused: &mut Vec<String>) -> (bool, bool) {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()));
    }
    let (mut ingress, mut egress) = (false, false);
    for (index, name) in types.iter().enumerate() {
        match name.as_str() {
            "Ingress" => ingress = true,
            "Egress" => egress = true,
            other => {
                refused.push(format!("spec.policyTypes[{index}]: unknown type {other:?}; use Ingress or Egress"));
                (ingress, egress) = (true, true);
            }
        }
    }
    (ingress, egress)
}
