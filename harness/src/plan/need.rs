//! What a case asks of a cluster, beyond pods that reach each other.

use std::collections::BTreeSet;
use std::fmt;

use super::Family;

/// Something that not every cluster has. Without it a case is skipped, which is said and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Two nodes at least that take pods.
    TwoNodes,
    /// Pods have IPv4 addresses.
    Ipv4,
    /// Pods have IPv6 addresses.
    Ipv6,
    /// A node that is no part of the pods' network: see [`OUTSIDE`].
    Outside,
    /// The policy engine's pods may be deleted. It follows from the steps alone: nobody writes it.
    EngineRestart,
}

/// The slot of pods outside the cluster's network, and the label of the node that they run on, in the network of that node.
pub const OUTSIDE: &str = "outside";

impl Need {
    /// Reads what a suite writes under `needs:`.
    pub fn parse(text: &str) -> Option<Self> {
        [Need::TwoNodes, Need::Ipv4, Need::Ipv6, Need::Outside].into_iter().find(|need| need.to_string() == text)
    }

    /// The need for addresses of a family.
    pub fn of(family: Family) -> Self {
        match family {
            Family::Ipv4 => Need::Ipv4,
            Family::Ipv6 => Need::Ipv6,
        }
    }

    /// Why a cluster that lacks it cannot carry out a case.
    pub fn lacking(self) -> &'static str {
        match self {
            Need::TwoNodes => "the cluster has only one node that takes pods",
            Need::Ipv4 => "pods have no IPv4 addresses",
            Need::Ipv6 => "pods have no IPv6 addresses",
            Need::Outside => "the cluster has no node outside the pods' network (label netpol.dev/outside)",
            Need::EngineRestart => {
                "it restarts the policy engine, and netpol did not make this cluster (--restart-engine lets it delete the engine's pods)"
            }
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::TwoNodes => "two-nodes",
            Need::Ipv4 => "ipv4",
            Need::Ipv6 => "ipv6",
            Need::Outside => OUTSIDE,
            Need::EngineRestart => "engine-restart",
        })
    }
}

/// The families that placeholders of a document name: `${ip4:…}`, `${cidr6:…}` and their like.
pub(crate) fn families_named(text: &str, needs: &mut BTreeSet<Need>) {
    for inner in text.split("${").skip(1).filter_map(|rest| rest.split_once(':')) {
        match inner.0.chars().last() {
            Some('4') => drop(needs.insert(Need::Ipv4)),
            Some('6') => drop(needs.insert(Need::Ipv6)),
            _ => {}
        }
    }
}
