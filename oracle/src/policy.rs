//! Policies as they are judged by: checked, defaults filled in.

use std::fmt;

use crate::ipblock::IpBlock;
use crate::port::Port;
use crate::selector::Selector;

/// A policy's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Its namespace: that of the pods it acts on (N11).
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// As seen from the policy's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Towards the subject.
    Ingress,
    /// From the subject.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// A valid policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) subjects: Selector,
    /// None where policyTypes, given or by default, does not list Ingress: then it neither isolates nor allows (N9).
    pub(crate) ingress: Option<Vec<Rule>>,
    /// Likewise for Egress.
    pub(crate) egress: Option<Vec<Rule>>,
}

impl Policy {
    /// The rules of a direction, where the policy isolates for it.
    pub(crate) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// One entry of `ingress` or `egress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `from` or `to`: any of them; empty means anybody (N20).
    pub(crate) peers: Vec<Peer>,
    /// Any of them; empty means every port of every protocol (N21).
    pub(crate) ports: Vec<Port>,
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// By labels; both given means both must match (N24), and an absent `namespaces` is the policy's own namespace (N22).
    Pods { namespaces: Option<Selector>, pods: Option<Selector> },
    /// By address.
    Block(IpBlock),
}
