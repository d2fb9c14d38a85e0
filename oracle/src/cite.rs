//! Which numbered rules a judgement rests on.

use std::collections::BTreeSet;

use crate::cluster::Traffic;
use crate::judge::Party;
use crate::policy::{Peer, Rule};
use crate::port::{Numbers, Port};
use crate::reason::{Isolating, Miss};
use crate::rule_id::RuleId;
use crate::rule_id::RuleId::N;
use crate::selector::Selector;

/// Adds the rules by which a rule's entries match.
pub(crate) fn cite_match(
    rule: &Rule,
    peer_index: Option<usize>,
    port_index: Option<usize>,
    peer: &Party<'_>,
    traffic: Traffic,
    cited: &mut BTreeSet<RuleId>,
) {
    cited.insert(if rule.peers.is_empty() && rule.ports.is_empty() { N(18) } else { N(19) });
    match peer_index.and_then(|index| rule.peers.get(index)) {
        None => cited.extend([N(20)]),
        Some(Peer::Block(block)) => {
            cited.insert(N(29));
            if block.is_ipv6() {
                cited.insert(N(31));
            }
            if peer.pod.is_some() {
                cited.insert(N(32));
            }
            if peer.node.is_some() {
                cited.insert(N(36));
            }
        }
        Some(Peer::Pods { namespaces, pods }) => {
            cited.insert(match (namespaces, pods) {
                (None, _) => N(22),
                (Some(_), None) => N(23),
                (Some(_), Some(_)) => N(24),
            });
            let empty = |selector: &Option<Selector>| selector.as_ref().is_some_and(|it| it.is_empty());
            if empty(namespaces) || empty(pods) {
                cited.insert(N(25));
            }
        }
    }
    if traffic == Traffic::Icmp {
        cited.insert(N(48));
    }
    match port_index.and_then(|index| rule.ports.get(index)) {
        None => cited.extend([N(21)]),
        Some(Port { protocol_defaulted, numbers, .. }) => {
            cited.insert(N(39));
            if *protocol_defaulted {
                cited.insert(N(37));
            }
            match numbers {
                Numbers::Any => cited.extend([N(38)]),
                Numbers::Named(_) => cited.extend([N(40), N(41)]),
                Numbers::Range(first, last) if first < last => cited.extend([N(43)]),
                Numbers::Range(..) => {}
            }
        }
    }
}

/// Adds the rules by which none matches.
pub(crate) fn cite_denial(denying: &[Isolating], traffic: Traffic, cited: &mut BTreeSet<RuleId>) {
    cited.insert(N(4));
    for isolating in denying {
        if isolating.misses.is_empty() {
            cited.insert(N(17));
        }
        for miss in &isolating.misses {
            cited.insert(match miss {
                Miss::Peer { excepted_by: Some(_), .. } => N(29),
                Miss::Peer { excepted_by: None, .. } => N(19),
                Miss::Port { .. } if traffic == Traffic::Icmp => N(48),
                Miss::Port { .. } if matches!(traffic, Traffic::Sctp(_)) => N(46),
                Miss::Port { .. } => N(39),
            });
        }
    }
}
