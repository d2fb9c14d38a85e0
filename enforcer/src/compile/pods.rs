//! The node's own pods: which policies isolate them, and where the maps dispatch them to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netpol_nft::{Chain, CtState, Element, Rule, Verdict};

use super::families::AddressFamily;
use super::names::{chain_name, comment, isolation_name};
use super::skeleton;
use crate::world::{Direction, ObjectKey, Pod, Policy, World};

/// Which pod has an address. Where two claim the same one, the newer does, unless it is going (P16, P17).
pub(super) fn owner<'a>(claimants: impl IntoIterator<Item = &'a Pod>) -> Option<&'a Pod> {
    claimants.into_iter().max_by_key(|pod| (!pod.terminating, &pod.created, &pod.uid, &pod.key))
}

/// The owners of all addresses that selectors and dispatch may meet (P18, P19).
pub(super) fn owners(world: &World) -> BTreeMap<IpAddr, &Pod> {
    let mut claims: BTreeMap<IpAddr, Vec<&Pod>> = BTreeMap::new();
    for pod in world.pods.values().filter(|pod| pod.is_selectable()) {
        for address in &pod.addresses {
            claims.entry(*address).or_default().push(pod);
        }
    }
    claims.into_iter().filter_map(|(address, pods)| Some((address, owner(pods)?))).collect()
}

/// What isolates a pod in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Isolation {
    pub(super) direction: Direction,
    /// The policies, ordered; never none.
    pub(super) policies: Vec<ObjectKey>,
}

impl Isolation {
    /// None if no policy isolates the pod in this direction (N1, N3).
    pub(super) fn of(pod: &Pod, direction: Direction, world: &World) -> Option<Self> {
        let isolating = |policy: &&Policy| policy.rules(direction).is_some() && policy.subject.matches(&pod.labels);
        let policies: Vec<ObjectKey> =
            world.policies_in(&pod.key.namespace).filter(isolating).map(|policy| policy.key.clone()).collect();
        (!policies.is_empty()).then_some(Self { direction, policies })
    }

    /// Its chain, which pods with the same policies share.
    pub(super) fn chain(&self) -> Chain {
        let policies: Vec<String> = self.policies.iter().map(ToString::to_string).collect();
        Chain::regular(isolation_name(&self.policies, self.direction)).comment(comment(&policies.join(" ")))
    }

    /// Whatever one of its policies allows is accepted (N4, N12). What belongs to no connection is dropped first, here
    /// where somebody asked for isolation (P35).
    /// The node's DNS cache answers its clients whatever their egress policies say (P43).
    pub(super) fn rules(&self, caches: &BTreeSet<AddressFamily>) -> Vec<Rule> {
        let jump = |policy| Rule::new().jump(chain_name("policy", policy, self.direction));
        let caches = caches.iter().filter(|_| self.direction == Direction::Egress);
        std::iter::once(Rule::new().ct_state(&[CtState::Invalid]).drop())
            .chain(caches.map(|family| skeleton::to_cache(*family)))
            .chain(self.policies.iter().map(jump))
            .chain([Rule::new().drop()])
            .collect()
    }
}

/// What the maps note of the pod that has an address: its name, for people, and its UID, by which the next enforcer can tell
/// whether it still has it (P16).
pub(super) fn note(pod: &Pod) -> String {
    const LONGEST_NAME: usize = 80;
    let name: String = pod.key.to_string().chars().take(LONGEST_NAME).collect();
    comment(format!("{name} {}", pod.uid).trim_end())
}

/// The element that dispatches a pod's new connections. By a jump, not a goto: what comes back from a chain that somebody has
/// emptied, or that a packet meets in the moment of two commits, meets the drop behind the map.
pub(super) fn dispatch(address: IpAddr, note: &str, isolation: Option<&Isolation>) -> Element {
    let verdict = isolation.map_or(Verdict::Accept, |isolation| Verdict::jump(isolation.chain().name));
    Element::new(address).verdict(verdict).comment(note)
}
