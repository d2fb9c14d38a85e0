//! The node's own pods: their entries in the verdict maps and their chains.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netpol_nft::{Chain, CtState, Element, Rule as NftRule, Ruleset, Verdict};

use super::names::chain_name;
use super::{Site, peers, pods_map, policies};
use crate::world::{Direction, Pod, Policy, World};

/// Adds every pod of the site that has an address (P19), with the chains and sets that it needs.
pub(super) fn compile(world: &World, site: &Site, ruleset: &mut Ruleset) {
    let mut by_namespace: BTreeMap<&str, Vec<&Policy>> = BTreeMap::new();
    for policy in world.policies.values() {
        by_namespace.entry(&policy.key.namespace).or_default().push(policy);
    }
    for (address, pod) in owners(world, site) {
        let in_namespace = by_namespace.get(pod.key.namespace.as_str()).map(Vec::as_slice).unwrap_or_default();
        let selecting: Vec<&Policy> =
            in_namespace.iter().copied().filter(|policy| policy.subject.matches(&pod.labels)).collect();
        for direction in Direction::BOTH {
            let verdict = verdict(pod, &selecting, direction, world, ruleset);
            if let Some(map) = ruleset.sets.get_mut(pods_map(direction)) {
                map.1.push(Element::new(address).verdict(verdict));
            }
        }
    }
}

/// Which pod of the site has an address. Where two claim the same one, the newer does, unless it is going (P16, P17).
fn owners<'a>(world: &'a World, site: &Site) -> BTreeMap<Ipv4Addr, &'a Pod> {
    let rank = |pod: &'a Pod| (!pod.terminating, &pod.created, &pod.uid);
    let mut owners: BTreeMap<Ipv4Addr, &Pod> = BTreeMap::new();
    for pod in world.pods.values().filter(|pod| pod.is_selectable() && pod.node.as_ref() == Some(&site.node)) {
        for address in peers::ipv4(pod) {
            let owner = owners.entry(address).or_insert(pod);
            if rank(pod) > rank(owner) {
                *owner = pod;
            }
        }
    }
    owners
}

/// What becomes of a pod's new connections in one direction: accepted if no policy isolates it (N1, N3), otherwise
/// whatever one of its policies allows (N4, N12).
fn verdict(pod: &Pod, selecting: &[&Policy], direction: Direction, world: &World, ruleset: &mut Ruleset) -> Verdict {
    let isolating: Vec<_> =
        selecting.iter().filter_map(|policy| policy.rules(direction).map(|rules| (*policy, rules))).collect();
    if isolating.is_empty() {
        return Verdict::Accept;
    }
    let chain = chain_name("pod", &pod.key, direction);
    // P35: packets that belong to no connection, where somebody asked for isolation.
    let mut rules = vec![NftRule::new().ct_state(&[CtState::Invalid]).drop()];
    for (policy, allowed) in isolating {
        rules.push(NftRule::new().jump(policies::add(policy, allowed, direction, world, ruleset)));
    }
    rules.push(NftRule::new().drop());
    ruleset.chain(Chain::regular(chain.clone()), rules);
    Verdict::goto(chain)
}
