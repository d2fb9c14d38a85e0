//! From a world to a node's ruleset. Pure: the same world and site always give the same ruleset.
//!
//! ```text
//! forward, filter-10:  egress   established → accept; from an uplink → accept; else from-pod
//! forward, filter:     ingress  established → accept; to an uplink → accept; else by destination address
//! input:               input    neighbour discovery, established, from an uplink → accept; else from-pod
//!                      from-pod forged source → drop; else by source address
//! maps egress-pods-v4, …-v6, ingress-pods-…:  address → accept, or jump isolated/<policies>/<direction>
//! isolated/…/<direction>:         jump to every policy that selects the pod, then drop
//! policy/…/<direction>:           peers and ports → accept
//! ```
//!
//! The two directions have base chains of their own, because `accept` ends a base chain: in a shared one the source's
//! egress would decide for the destination's ingress on the same node (P40). What nobody has programmed is not in the
//! maps, and is dropped. There is no output chain: what the node itself sends always passes (N53, P13, P24).
//!
//! Chains depend on policies alone and maps and sets on pods, so that a pod's change is a few elements.

mod families;
mod incremental;
mod names;
mod pods;
mod policies;
mod sets;
mod skeleton;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netpol_nft::{Element, Ruleset};

pub use families::AddressFamily;
pub use incremental::{Incremental, Update};
pub use names::chain_name;
pub use sets::{Scope, SetKey};
pub use skeleton::{closed, dispatch_map, skeleton};

use crate::uplinks::Uplinks;
use crate::world::{Direction, ObjectKey, World};
use pods::Isolation;
use policies::PolicyChain;

/// The name of the table; its family is inet.
pub const TABLE: &str = "netpol";

/// The node for which a ruleset is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The node's name, as in the pods' `spec.nodeName`.
    pub node: String,
    /// The interfaces that lead out of it.
    pub uplinks: Uplinks,
    /// Traffic from a pod to its own node.
    pub own_node: OwnNode,
    /// The addresses of the node's DNS cache, if it has one (P43).
    pub node_local_dns: BTreeSet<IpAddr>,
}

impl Site {
    /// The families in which the node's DNS cache is reached.
    fn caches(&self) -> BTreeSet<AddressFamily> {
        self.node_local_dns.iter().map(|address| AddressFamily::of(*address)).collect()
    }
}

/// What becomes of traffic from a pod to its own node (N54, P23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OwnNode {
    /// It is subject to the pod's egress policies.
    #[value(name = "police")]
    Policed,
    /// It passes.
    #[value(name = "allow")]
    Open,
}

/// Compiles the ruleset that enforces the world's policies on the site, from nothing. This is the definition;
/// [`Incremental`] gets to the same by steps.
pub fn compile(world: &World, site: &Site) -> Ruleset {
    let mut ruleset = skeleton(site);
    let owners = pods::owners(world);
    let (mut isolations, mut chains) = (BTreeSet::new(), BTreeMap::<(ObjectKey, Direction), PolicyChain>::new());
    for (address, pod) in owners.iter().filter(|(_, pod)| pod.node.as_ref() == Some(&site.node)) {
        for direction in Direction::BOTH {
            let isolation = Isolation::of(pod, direction, world);
            let map = dispatch_map(direction, AddressFamily::of(*address)).name;
            if let Some((_, elements)) = ruleset.sets.get_mut(&map) {
                elements.push(pods::dispatch(*address, &pods::note(pod), isolation.as_ref()));
            }
            isolations.extend(isolation);
        }
    }
    for isolation in &isolations {
        ruleset.chain(isolation.chain(), isolation.rules(&site.caches()));
        for policy in isolation.policies.iter().filter_map(|key| world.policies.get(key)) {
            let id = (policy.key.clone(), isolation.direction);
            chains.entry(id).or_insert_with(|| PolicyChain::of(policy, isolation.direction));
        }
    }
    let mut keys = BTreeSet::new();
    for ((policy, direction), chain) in chains {
        ruleset.chain(policies::chain(&policy, direction), chain.rules);
        keys.extend(chain.sets);
    }
    for key in keys {
        let mut elements: BTreeMap<Option<AddressFamily>, Vec<Element>> = BTreeMap::new();
        for (address, pod) in &owners {
            if let Some(held) = key.holds(pod, world) {
                elements.entry(Some(AddressFamily::of(*address))).or_default().push(key.element(*address, held));
            }
        }
        for family in key.families() {
            let mut held = key.fixed_elements();
            held.extend(elements.remove(&family).unwrap_or_default());
            ruleset.set(key.set(family), held);
        }
    }
    ruleset
}
