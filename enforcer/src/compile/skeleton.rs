//! What stands in every ruleset: base chains, uplinks, and the maps that dispatch to pods.

use netpol_nft::{
    Chain, ChainType, CtState, DataType, Element, Field, Hook, Icmpv6Type, Policy, Protocol, Rule, Ruleset, Set, Table,
    priority,
};

use super::families::AddressFamily;
use super::{OwnNode, Site, TABLE};
use crate::world::Direction;

const UPLINKS: &str = "uplinks";
const FROM_POD: &str = "from-pod";
const DNS: u16 = 53;

/// The ruleset without any pod: everything from and to interfaces that are not uplinks is dropped, save established
/// connections. It stands until the first lists have arrived (P41).
pub fn skeleton(site: &Site) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet(TABLE));
    ruleset.set(uplinks_set(), site.uplinks.iter().map(|name| uplink(name)));
    for direction in Direction::BOTH {
        for family in AddressFamily::BOTH {
            ruleset.set(dispatch_map(direction, family), []);
        }
    }
    for family in site.caches() {
        let own = site.node_local_dns.iter().filter(|address| AddressFamily::of(**address) == family);
        let ports = own.flat_map(|address| [Protocol::UDP, Protocol::TCP].map(|of| Element::new((*address, of, DNS))));
        ruleset.set(caches(family), ports);
    }
    for (chain, rules) in base_chains(site.own_node) {
        ruleset.chain(chain, rules);
    }
    ruleset
}

/// A ruleset without its pods: what it would be as a skeleton.
pub fn closed(ruleset: &Ruleset) -> Ruleset {
    let mut closed = ruleset.clone();
    let maps = || {
        Direction::BOTH
            .into_iter()
            .flat_map(|direction| AddressFamily::BOTH.map(|family| dispatch_map(direction, family).name))
    };
    closed.sets.retain(|name, _| name == UPLINKS || maps().any(|map| map == *name));
    for map in maps() {
        if let Some((_, elements)) = closed.sets.get_mut(&map) {
            elements.clear();
        }
    }
    closed.chains.retain(|name, (chain, _)| chain.base.is_some() || name == FROM_POD);
    closed
}

/// The set of the addresses and ports of the node's DNS cache.
fn caches(family: AddressFamily) -> Set {
    let key = [family.data_type(), DataType::InetProto, DataType::InetService];
    Set::new(format!("node-local-dns-{}", family.suffix()), key)
}

/// Accepts what is asked of the node's DNS cache. It takes such packets off connection tracking, and answers from an address that
/// no selector of pods can mean (P43).
pub(super) fn to_cache(family: AddressFamily) -> Rule {
    Rule::new().lookup(&[family.destination(), Field::L4proto, Field::Dport], caches(family).name).accept()
}

/// The set of the node's uplinks.
pub(super) fn uplinks_set() -> Set {
    Set::new(UPLINKS, [DataType::Ifname]).comment("interfaces that lead out of the node; all others are pods'")
}

/// The element of an uplink.
pub(super) fn uplink(name: &str) -> Element {
    Element::new(name)
}

/// The verdict map that dispatches to a node's pods by address.
pub fn dispatch_map(direction: Direction, family: AddressFamily) -> Set {
    Set::verdict_map(format!("{direction}-pods-{}", family.suffix()), [family.data_type()])
}

fn base_chains(own_node: OwnNode) -> Vec<(Chain, Vec<Rule>)> {
    // P1, P4, N15, N63: replies, related errors, and connections that were allowed when they began.
    let established = || Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept();
    let filter = |name, hook, priority| Chain::base(name, ChainType::Filter, hook, priority, Policy::Accept);
    let dispatch = |direction: Direction| {
        AddressFamily::BOTH.map(|family| family.subject_vmap(direction, dispatch_map(direction, family).name))
    };
    let [egress_v4, egress_v6] = dispatch(Direction::Egress);
    let [ingress_v4, ingress_v6] = dispatch(Direction::Ingress);
    vec![
        (
            filter("egress", Hook::Forward, priority::FILTER - 10),
            vec![established(), Rule::new().iifname_in(UPLINKS).accept(), Rule::new().jump(FROM_POD)],
        ),
        (
            filter("ingress", Hook::Forward, priority::FILTER),
            vec![established(), Rule::new().oifname_in(UPLINKS).accept(), ingress_v4, ingress_v6, Rule::new().drop()],
        ),
        (
            filter("input", Hook::Input, priority::FILTER),
            vec![
                // Neighbour discovery and multicast listener discovery are the link's, not the policy's (P6).
                Rule::new().icmpv6_type_range(130..=137).accept(),
                Rule::new().icmpv6_type(Icmpv6Type(143)).accept(),
                established(),
                Rule::new().iifname_in(UPLINKS).accept(),
                match own_node {
                    OwnNode::Policed => Rule::new().jump(FROM_POD),
                    OwnNode::Open => Rule::new().fib_saddr_iif_missing().drop(),
                },
            ],
        ),
        (
            Chain::regular(FROM_POD),
            vec![
                // P39: the address belongs to another interface, or to none.
                Rule::new().fib_saddr_iif_missing().drop(),
                egress_v4,
                egress_v6,
                Rule::new().drop(),
            ],
        ),
    ]
}
