//! Why a flow is allowed or denied, as data and as a sentence.

use std::fmt;

use crate::{Direction, End, PolicyName};

/// Why a flow is allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Where the flow begins.
    pub from: End,
    /// Where it ends.
    pub to: End,
    /// What the policies say that select `from`.
    pub egress: Side,
    /// What the policies say that select `to`.
    pub ingress: Side,
}

/// What policies say at one end of a flow. Both ends must let it pass (N14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// Both ends are the same pod (N50).
    Itself,
    /// The end is no pod, or one in its node's network: no policy has it as its subject (N16, N56).
    NoSubject,
    /// Traffic from the pod's own node (N53).
    OwnNode,
    /// No policy isolates the pod for this direction (N1).
    NotIsolated,
    /// This rule allows it.
    Allowed(AllowedBy),
    /// These policies isolate the pod, and none allows it (N4).
    Denied(Vec<Isolating>),
}

impl Side {
    /// Whether this end lets the flow pass.
    pub fn allows(&self) -> bool {
        !matches!(self, Side::Denied(_))
    }
}

/// The first rule, by the policies' names, that allows a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedBy {
    /// Whose rule.
    pub policy: PolicyName,
    /// The index in `ingress` or `egress`.
    pub rule: usize,
    /// The index of the matching peer; none where the rule takes any peer (N20).
    pub peer: Option<usize>,
    /// The index of the matching port; none where the rule takes any port (N21).
    pub port: Option<usize>,
}

/// A policy that isolates a pod and does not allow the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolating {
    /// Which.
    pub policy: PolicyName,
    /// Why each of its rules does not match; empty where it has none (N17).
    pub misses: Vec<Miss>,
}

/// Why a rule does not match a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// No peer matches.
    Peer {
        /// The rule's index.
        rule: usize,
        /// The index of a peer whose cidr holds the address and whose `except` takes it out again.
        excepted_by: Option<usize>,
    },
    /// A peer matches, and no port does.
    Port {
        /// The rule's index.
        rule: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = [
            (Direction::Egress, &self.from, &self.to, &self.egress),
            (Direction::Ingress, &self.to, &self.from, &self.ingress),
        ];
        if self.egress == Side::Itself {
            return write!(f, "allowed: {} cannot be kept from itself", self.from);
        }
        let allowed = self.egress.allows() && self.ingress.allows();
        f.write_str(if allowed { "allowed: " } else { "denied: " })?;
        let mut separator = "";
        for (direction, subject, peer, side) in sides {
            // Of a denied flow the denying sides alone are of interest.
            if allowed || !side.allows() {
                f.write_str(separator)?;
                describe(f, direction, subject, peer, side)?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

fn describe(f: &mut fmt::Formatter<'_>, direction: Direction, subject: &End, peer: &End, side: &Side) -> fmt::Result {
    let list = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    match side {
        Side::Itself => write!(f, "{subject} cannot be kept from itself"),
        Side::NoSubject => write!(f, "no policy has {subject} as its subject"),
        Side::OwnNode => write!(f, "{peer} is on the own node of {subject}"),
        Side::NotIsolated => write!(f, "no policy isolates {subject} for {direction}"),
        Side::Allowed(by) => {
            write!(f, "{} allows it by {direction}[{}]", by.policy, by.rule)?;
            match by.peer {
                Some(peer) => write!(f, ", {list}[{peer}]")?,
                None => f.write_str(", any peer")?,
            }
            match by.port {
                Some(port) => write!(f, ", ports[{port}]"),
                None => f.write_str(", any port"),
            }
        }
        Side::Denied(policies) => {
            write!(f, "{subject} is isolated for {direction} by ")?;
            for (index, isolating) in policies.iter().enumerate() {
                let separator = if index == 0 { "" } else { " and " };
                write!(f, "{separator}{} (", isolating.policy)?;
                if isolating.misses.is_empty() {
                    write!(f, "no {direction} rules")?;
                }
                for (index, miss) in isolating.misses.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    f.write_str(separator)?;
                    match miss {
                        Miss::Peer { rule, excepted_by: Some(peer) } => {
                            write!(f, "{direction}[{rule}].{list}[{peer}] excepts the peer")?;
                        }
                        Miss::Peer { rule, excepted_by: None } => {
                            write!(f, "{direction}[{rule}].{list} has not the peer")?;
                        }
                        Miss::Port { rule } => write!(f, "{direction}[{rule}].ports has not the port")?,
                    }
                }
                f.write_str(")")?;
            }
            Ok(())
        }
    }
}
