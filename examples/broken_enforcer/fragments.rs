//! Bugs that meet fragments before they are put together: connection tracking does that, and no other rule sees one.
//!
//! A later fragment has no ports, and kernels differ in what a rule finds in their place: nothing, or the datagram's text. So a UDP packet
//! is taken for one if neither port is one that probes come from. Of IPv6 some kernels show the beginning of the header instead, by which
//! nothing can be told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use netpol_enforcer::world::{Direction, World};
use netpol_nft::{
    Chain, ChainType, DataType, Element, Field, Hook, Policy as ChainPolicy, Protocol, Rule, Ruleset, Set, priority,
};

use crate::mutant::{Bug, Mutant};
use crate::ruleset::isolations;

/// Before connection tracking puts fragments together.
const BEFORE_REASSEMBLY: i32 = priority::RAW - 150;
/// Longer than the fragments of a datagram are under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "fragments-escape",
        "N46 P35",
        "What comes in fragments passes unjudged, because the later ones have no ports to judge by (IPv4)",
        Bug::Ruleset(fragments_escape),
    ),
    Mutant::new(
        "loses-fragments",
        "N46 P35",
        "Fragments are judged one by one, and those without ports are dropped wherever a pod is isolated (IPv4)",
        Bug::Ruleset(loses_fragments),
    ),
];

/// The ports that probes come from (wire/src/token.rs).
const PROBES: RangeInclusive<u16> = 10_000..=29_999;

/// Rules for the fragments that have no ports.
fn later_fragments(ruleset: &mut Ruleset, rules: impl IntoIterator<Item = Rule>) {
    let chain = Chain::base("fragments", ChainType::Filter, Hook::Prerouting, BEFORE_REASSEMBLY, ChainPolicy::Accept);
    let udp = || Rule::new().l4proto(Protocol::UDP);
    let have_ports = [udp().sport_range(PROBES).return_(), udp().dport_range(PROBES).return_()];
    ruleset.chain(chain, have_ports.into_iter().chain(rules));
}

fn fragments_escape(_world: &World, ruleset: &mut Ruleset) {
    let pair = [Field::IpSaddr, Field::IpDaddr];
    let fragmented = Set::new("fragmented", [DataType::Ipv4Addr, DataType::Ipv4Addr]).filled_by_packets(1024);
    ruleset.set(fragmented, []);
    later_fragments(ruleset, [Rule::new().l4proto(Protocol::UDP).update("fragmented", &pair, UNDER_WAY)]);
    let escape = Rule::new().l4proto(Protocol::UDP).lookup(&pair, "fragmented").accept();
    isolations(ruleset, &Direction::BOTH).for_each(|rules| rules.insert(0, escape.clone()));
}

fn loses_fragments(world: &World, ruleset: &mut Ruleset) {
    let isolated: BTreeSet<IpAddr> = world
        .pods
        .values()
        .filter(|pod| world.policies_in(&pod.key.namespace).any(|policy| policy.subject.matches(&pod.labels)))
        .flat_map(|pod| pod.addresses.iter().copied())
        .filter(IpAddr::is_ipv4)
        .collect();
    ruleset.set(Set::new("isolated", [DataType::Ipv4Addr]), isolated.into_iter().map(Element::new));
    let udp = || Rule::new().l4proto(Protocol::UDP);
    later_fragments(ruleset, [udp().ip_saddr_in("isolated").drop(), udp().ip_daddr_in("isolated").drop()]);
}
