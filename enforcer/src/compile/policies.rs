//! Chains of policies: one per policy and direction, shared by all pods that it selects.

use netpol_nft::{Chain, Rule as NftRule, Ruleset};

use super::names::chain_name;
use super::{peers, ports};
use crate::world::{Direction, Policy, Rule, World};

/// Adds the policy's chain for a direction that it isolates, with the sets that it needs, and returns its name. A packet
/// that it allows is accepted, any other comes back.
pub(super) fn add(
    policy: &Policy,
    rules: &[Rule],
    direction: Direction,
    world: &World,
    ruleset: &mut Ruleset,
) -> String {
    let name = chain_name("policy", &policy.key, direction);
    if ruleset.chains.contains_key(&name) {
        return name;
    }
    let mut compiled = Vec::new();
    for rule in rules {
        for allowed in compile(rule, &policy.key.namespace, direction, world, ruleset) {
            if !compiled.contains(&allowed) {
                compiled.push(allowed);
            }
        }
    }
    ruleset.chain(Chain::regular(name.clone()), compiled);
    name
}

/// One rule per peer, each with all of the ports (N19).
fn compile(rule: &Rule, namespace: &str, direction: Direction, world: &World, ruleset: &mut Ruleset) -> Vec<NftRule> {
    let by_peer = match &rule.peers {
        None => vec![NftRule::new()],
        Some(listed) => listed
            .iter()
            .filter_map(|peer| peers::add(peer, namespace, world, ruleset))
            .map(|set| match direction {
                Direction::Ingress => NftRule::new().ip_saddr_in(set),
                Direction::Egress => NftRule::new().ip_daddr_in(set),
            })
            .collect(),
    };
    // Without ports every protocol passes, ICMP included; with ports only those that they name (N48, P5).
    let ports = rule.ports.as_deref().filter(|_| !by_peer.is_empty()).map(|listed| ports::add(listed, ruleset));
    by_peer
        .into_iter()
        .map(|matched| match &ports {
            None => matched.accept(),
            Some(set) => matched.l4proto_dport_in(set.clone()).accept(),
        })
        .collect()
}
