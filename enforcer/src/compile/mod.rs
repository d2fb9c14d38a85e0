//! From a world to a node's ruleset. Pure: the same world and site always give the same ruleset.
//!
//! ```text
//! forward, filter-10:  egress   established → accept; from an uplink → accept; else from-pod
//! forward, filter:     ingress  established → accept; to an uplink → accept; else by destination address
//! input:               input    neighbour discovery, established, from an uplink → accept; else from-pod
//!                      from-pod forged source → drop; else by source address
//! map egress-pods, ingress-pods:  address → accept, or goto pod/<namespace>/<name>/<direction>
//! pod/…/<direction>:              jump to every policy that selects the pod, then drop
//! policy/…/<direction>:           peers and ports → accept
//! ```
//!
//! The two directions have base chains of their own, because `accept` ends a base chain: in a shared one the source's
//! egress would decide for the destination's ingress on the same node (P40). What nobody has programmed is not in the
//! maps, and is dropped. There is no output chain: what the node itself sends always passes (N53, P13, P24).

mod names;
mod peers;
mod pods;
mod policies;
mod ports;

use netpol_nft::{
    Chain, ChainType, CtState, DataType, Element, Hook, Icmpv6Type, Policy, Rule, Ruleset, Set, Table, priority,
};

pub use names::chain_name;

use crate::uplinks::Uplinks;
use crate::world::{Direction, World};

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
}

/// What becomes of traffic from a pod to its own node (N54, P23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnNode {
    /// It is subject to the pod's egress policies.
    Policed,
    /// It passes.
    Open,
}

/// Compiles the ruleset that enforces the world's policies on the site.
pub fn compile(world: &World, site: &Site) -> Ruleset {
    let mut ruleset = skeleton(site);
    pods::compile(world, site, &mut ruleset);
    ruleset
}

/// The ruleset without any pod: everything from and to interfaces that are not uplinks is dropped, save established
/// connections. It stands until the first lists have arrived (P41).
pub fn skeleton(site: &Site) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet(TABLE));
    let uplinks = site.uplinks.iter().map(|name| Element::new(name.as_str()));
    ruleset.set(
        Set::new(UPLINKS, [DataType::Ifname]).comment("interfaces that lead out of the node; all others are pods'"),
        uplinks,
    );
    for direction in Direction::BOTH {
        ruleset.set(Set::verdict_map(pods_map(direction), [DataType::Ipv4Addr]), []);
    }
    // P1, P4, N15, N63: replies, related errors, and connections that were allowed when they began.
    let established = || Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept();
    let filter = |name, hook, priority| Chain::base(name, ChainType::Filter, hook, priority, Policy::Accept);
    ruleset.chain(
        filter("egress", Hook::Forward, priority::FILTER - 10),
        [established(), Rule::new().iifname_in(UPLINKS).accept(), Rule::new().jump(FROM_POD)],
    );
    ruleset.chain(
        filter("ingress", Hook::Forward, priority::FILTER),
        [
            established(),
            Rule::new().oifname_in(UPLINKS).accept(),
            Rule::new().ip_daddr_vmap(pods_map(Direction::Ingress)),
            Rule::new().drop(),
        ],
    );
    ruleset.chain(
        filter("input", Hook::Input, priority::FILTER),
        [
            // Neighbour discovery and multicast listener discovery are the link's, not the policy's (P6).
            Rule::new().icmpv6_type_range(130..=137).accept(),
            Rule::new().icmpv6_type(Icmpv6Type(143)).accept(),
            established(),
            Rule::new().iifname_in(UPLINKS).accept(),
            match site.own_node {
                OwnNode::Policed => Rule::new().jump(FROM_POD),
                OwnNode::Open => Rule::new().fib_saddr_iif_missing().drop(),
            },
        ],
    );
    let from_pod = [
        // P39: the address belongs to another interface, or to none.
        Rule::new().fib_saddr_iif_missing().drop(),
        Rule::new().ip_saddr_vmap(pods_map(Direction::Egress)),
        Rule::new().drop(),
    ];
    ruleset.chain(Chain::regular(FROM_POD), from_pod);
    ruleset
}

const UPLINKS: &str = "uplinks";
const FROM_POD: &str = "from-pod";

/// The verdict map that dispatches to a node's pods by address.
pub fn pods_map(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress-pods",
        Direction::Ingress => "ingress-pods",
    }
}
