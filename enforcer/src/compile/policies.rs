//! Chains of policies: one per policy and direction, shared by all pods that it selects.

use std::collections::BTreeSet;

use netpol_nft::{Chain, Rule as NftRule};

use super::families::AddressFamily;
use super::names::chain_name;
use super::sets::{Scope, SetKey};
use crate::world::{Direction, ObjectKey, Peer, Policy, Port, PortRange, Rule};

/// The chain of a policy for one direction.
pub(super) fn chain(policy: &ObjectKey, direction: Direction) -> Chain {
    Chain::regular(chain_name("policy", policy, direction))
}

/// The rules of a policy's chain for a direction that it isolates, and the sets that they refer to. A packet that it allows is
/// accepted, any other comes back. It depends on nothing but the policy: what changes with pods are the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyChain {
    pub(super) rules: Vec<NftRule>,
    pub(super) sets: BTreeSet<SetKey>,
}

impl PolicyChain {
    pub(super) fn of(policy: &Policy, direction: Direction) -> Self {
        let mut chain = Self::default();
        for rule in policy.rules(direction).unwrap_or_default() {
            chain.add(rule, &policy.key.namespace, direction);
        }
        chain
    }

    /// One rule per peer, kind of port and family: peer and port must both match (N19).
    fn add(&mut self, rule: &Rule, namespace: &str, direction: Direction) {
        let ports = rule.ports.as_deref().map(port_sets);
        let Some(peers) = &rule.peers else {
            self.add_ports(&NftRule::new(), None, ports.as_deref());
            return;
        };
        for peer in peers {
            let peer = peer_set(peer, namespace);
            for family in peer.families() {
                self.add_ports(&peer.peer(NftRule::new(), direction, family), family, ports.as_deref());
            }
            self.sets.insert(peer);
        }
    }

    /// Without ports every protocol passes, ICMP included; with ports only those that they name (N48, P5).
    fn add_ports(&mut self, peer: &NftRule, family: Option<AddressFamily>, ports: Option<&[SetKey]>) {
        let Some(ports) = ports else {
            self.allow(peer.clone());
            return;
        };
        for set in ports {
            for port_family in set.families() {
                // Named ports have an address in their key, so that they stand once per family.
                if port_family.is_none() || family.is_none() || port_family == family {
                    self.allow(set.port(peer.clone(), port_family));
                }
            }
            self.sets.insert(set.clone());
        }
    }

    fn allow(&mut self, matched: NftRule) {
        let rule = matched.accept();
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }
}

fn peer_set(peer: &Peer, namespace: &str) -> SetKey {
    match peer {
        Peer::Pods { namespaces: None, pods } => SetKey::Pods(Scope::Namespace(namespace.to_owned()), pods.clone()),
        Peer::Pods { namespaces: Some(selector), pods } => {
            SetKey::Pods(Scope::Matching(selector.clone()), pods.clone())
        }
        Peer::Block(block) => SetKey::Block(block.clone()),
    }
}

/// One set of all ports by number, and one for each that is named.
fn port_sets(ports: &[Port]) -> Vec<SetKey> {
    let mut numbers: Vec<&PortRange> = Vec::new();
    let mut sets = Vec::new();
    for port in ports {
        match port {
            Port::Range(range) => numbers.push(range),
            Port::Named(name) => sets.push(SetKey::NamedPort(name.clone())),
        }
    }
    if !numbers.is_empty() {
        sets.insert(0, SetKey::ports(numbers));
    }
    sets
}
