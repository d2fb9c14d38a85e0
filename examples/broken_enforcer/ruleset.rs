//! Bugs in the rules for the kernel.

use netpol_enforcer::compile::chain_name;
use netpol_enforcer::world::{Direction, IpBlock, Peer, Policy, World};
use netpol_nft::{
    Chain, ChainType, CtDirection, CtState, CtStatus, DataType, Element, Hook, NfProto, Policy as ChainPolicy,
    Protocol, Rule, Ruleset, Set, priority,
};

use crate::mutant::{Bug, Mutant};

const UPLINKS: &str = "uplinks";

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "drops-everything",
        "N1",
        "Nothing is forwarded from or to pods, whatever the policies say",
        Bug::Ruleset(drops_everything),
    ),
    Mutant::new(
        "except-denies",
        "N30 P9",
        "An except denies its addresses for all policies of a pod, where it should limit its own peer",
        Bug::Ruleset(except_denies),
    ),
    Mutant::new(
        "deny-all-wins",
        "N12 N13",
        "A policy without rules denies whatever other policies of its pods allow",
        Bug::Ruleset(deny_all_wins),
    ),
    Mutant::new(
        "first-policy-only",
        "N12",
        "Of a pod's policies only the first by name counts",
        Bug::Ruleset(|_, ruleset| isolations(ruleset, &Direction::BOTH).for_each(first_policy_only)),
    ),
    Mutant::new(
        "cuts-established",
        "N63 P1",
        "Established connections are judged by the policies again; only replies pass unseen",
        Bug::Ruleset(|_, ruleset| {
            let states = [CtState::Established, CtState::Related];
            replace_established(ruleset, &[Rule::new().ct_state(&states).ct_direction(CtDirection::Reply).accept()]);
        }),
    ),
    Mutant::new(
        "judges-replies",
        "N15",
        "Replies are judged like connections of their own",
        Bug::Ruleset(|_, ruleset| replace_established(ruleset, &[])),
    ),
    Mutant::new(
        "judges-udp-replies",
        "N15 P32",
        "Only TCP has connections: replies of UDP are judged like datagrams of their own",
        Bug::Ruleset(|_, ruleset| {
            let states = [CtState::Established, CtState::Related];
            let of = |protocol| Rule::new().l4proto(protocol).ct_state(&states).accept();
            replace_established(ruleset, &[of(Protocol::TCP), of(Protocol::ICMP), of(Protocol::ICMPV6)]);
        }),
    ),
    Mutant::new(
        "drops-related-errors",
        "P4",
        "ICMP errors that belong to a connection are judged like connections of their own",
        Bug::Ruleset(|_, ruleset| {
            replace_established(ruleset, &[Rule::new().ct_state(&[CtState::Established]).accept()]);
        }),
    ),
    Mutant::new(
        "skips-same-node-ingress",
        "N14 P40",
        "One base chain for both directions: accepted egress skips the ingress of a pod on the same node",
        Bug::Ruleset(skips_same_node_ingress),
    ),
    Mutant::new(
        "same-node-is-open",
        "N4 N14 P22",
        "Pods of one node reach each other past the rules, as over a bridge",
        Bug::Ruleset(|_, ruleset| {
            for chain in ["egress", "ingress"] {
                rules(ruleset, chain).insert(0, Rule::new().iifname_not_in(UPLINKS).oifname_not_in(UPLINKS).accept());
            }
        }),
    ),
    Mutant::new(
        "other-nodes-are-open",
        "N4 N14 N55 P13",
        "What comes from another node passes, as if its egress had been all that counts",
        Bug::Ruleset(|_, ruleset| rules(ruleset, "ingress").insert(0, Rule::new().iifname_in(UPLINKS).accept())),
    ),
    Mutant::new(
        "outside-is-open",
        "N20 N55 P13",
        "Whatever comes from no pod passes, other nodes included",
        Bug::Ruleset(outside_is_open),
    ),
    Mutant::new(
        "own-node-is-closed",
        "N4 N53 P24",
        "What a node sends to its own pods is dropped",
        Bug::Ruleset(own_node_is_closed),
    ),
    Mutant::new(
        "service-addresses-match-nobody",
        "N45 N52 P34",
        "Egress is judged on the Service's address, which is no pod's",
        Bug::Ruleset(|_, ruleset| {
            let translated = Rule::new().ct_status(&[CtStatus::Dnat]).drop();
            isolations(ruleset, &[Direction::Egress]).for_each(|rules| rules.insert(0, translated.clone()));
        }),
    ),
    Mutant::new(
        "services-are-open",
        "N45 N52 P34",
        "Connections that came by a Service's address pass unjudged",
        Bug::Ruleset(|_, ruleset| {
            let translated = Rule::new().ct_status(&[CtStatus::Dnat]).accept();
            isolations(ruleset, &Direction::BOTH).for_each(|rules| rules.insert(0, translated.clone()));
        }),
    ),
    Mutant::new(
        "icmp-is-open",
        "N48 P5",
        "ICMP passes wherever a pod is isolated",
        Bug::Ruleset(|_, ruleset| first(ruleset, &[Protocol::ICMP, Protocol::ICMPV6], Rule::accept)),
    ),
    Mutant::new(
        "icmp-is-closed",
        "N21 N48 P5",
        "ICMP is dropped wherever a pod is isolated, also by rules without ports",
        Bug::Ruleset(|_, ruleset| first(ruleset, &[Protocol::ICMP, Protocol::ICMPV6], Rule::drop)),
    ),
    Mutant::new(
        "udp-is-open",
        "N46",
        "Only TCP is filtered: UDP passes",
        Bug::Ruleset(|_, ruleset| first(ruleset, &[Protocol::UDP], Rule::accept)),
    ),
    Mutant::new(
        "sctp-is-open",
        "N46 P33",
        "SCTP is not filtered",
        Bug::Ruleset(|_, ruleset| first(ruleset, &[Protocol::SCTP], Rule::accept)),
    ),
    Mutant::new(
        "ipv6-is-open",
        "N4 N31 P21",
        "Policies are enforced for IPv4 only",
        Bug::Ruleset(|_, ruleset| {
            let v6 = Rule::new().nfproto(NfProto::Ipv6).accept();
            isolations(ruleset, &Direction::BOTH).for_each(|rules| rules.insert(0, v6.clone()));
        }),
    ),
    Mutant::new(
        "ipv6-is-closed",
        "N19 N31 P21",
        "Isolation holds for both families, but rules allow IPv4 only",
        Bug::Ruleset(|_, ruleset| {
            let v6 = Rule::new().nfproto(NfProto::Ipv6).drop();
            isolations(ruleset, &Direction::BOTH).for_each(|rules| rules.insert(0, v6.clone()));
        }),
    ),
    Mutant::new(
        "drops-neighbour-discovery",
        "P6",
        "Neighbour discovery is taken for traffic from a pod with a foreign address",
        Bug::Ruleset(|_, ruleset| drop(rules(ruleset, "input").drain(..2))),
    )
    .seen_by("`packets::v6::a_closed_skeleton_closes_pods_and_nobody_else` in enforcer/tests/kernel; no case of `families/` failed"),
    Mutant::new(
        "sources-are-not-checked",
        "P39",
        "A pod may send from an address that is not its own",
        Bug::Ruleset(|_, ruleset| {
            rules(ruleset, "from-pod").remove(0);
        }),
    )
    .seen_by("enforcer/tests/kernel/packets.rs: forged_sources_are_dropped; the agents forge no address"),
];

/// The rules of a chain of the real enforcer. That it has the chain is what the mutant relies on.
pub(crate) fn rules<'a>(ruleset: &'a mut Ruleset, chain: &str) -> &'a mut Vec<Rule> {
    let Some((_, rules)) = ruleset.chains.get_mut(chain) else {
        panic!("the enforcer has no chain {chain} any more; this mutant has to follow");
    };
    rules
}

/// The rules of all pods that are isolated in one of the directions.
pub(crate) fn isolations<'a>(
    ruleset: &'a mut Ruleset,
    directions: &'a [Direction],
) -> impl Iterator<Item = &'a mut Vec<Rule>> {
    let of = move |name: &str| directions.iter().any(|direction| name.ends_with(&format!("/{direction}")));
    let chains = ruleset.chains.iter_mut().filter(move |(name, _)| name.starts_with("isolated/") && of(name));
    chains.map(|(_, (_, rules))| rules)
}

/// A verdict on protocols before any policy of an isolated pod.
fn first(ruleset: &mut Ruleset, protocols: &[Protocol], verdict: fn(Rule) -> Rule) {
    for rules in isolations(ruleset, &Direction::BOTH) {
        rules.splice(0..0, protocols.iter().map(|protocol| verdict(Rule::new().l4proto(*protocol))));
    }
}

fn drops_everything(_world: &World, ruleset: &mut Ruleset) {
    for chain in ["egress", "ingress"] {
        *rules(ruleset, chain) = vec![Rule::new().drop()];
    }
}

/// The jump to a policy's chain.
pub(crate) fn jump(policy: &Policy, direction: Direction) -> Rule {
    Rule::new().jump(chain_name("policy", &policy.key, direction))
}

fn except_denies(world: &World, ruleset: &mut Ruleset) {
    for policy in world.policies.values() {
        for direction in Direction::BOTH {
            let (jump, denials) = (jump(policy, direction), denials(policy, direction));
            for rules in isolations(ruleset, &[direction]).filter(|rules| rules.contains(&jump)) {
                rules.splice(0..0, denials.iter().cloned());
            }
        }
    }
}

fn denials(policy: &Policy, direction: Direction) -> Vec<Rule> {
    let peers = policy.rules(direction).into_iter().flatten().flat_map(|rule| rule.peers.iter().flatten());
    let excepts = peers.filter_map(|peer| match peer {
        Peer::Block(IpBlock { except, .. }) => Some(except),
        Peer::Pods { .. } => None,
    });
    excepts
        .flatten()
        .map(|except| match (except, direction) {
            (ipnet::IpNet::V4(except), Direction::Ingress) => Rule::new().ip_saddr(*except).drop(),
            (ipnet::IpNet::V4(except), Direction::Egress) => Rule::new().ip_daddr(*except).drop(),
            (ipnet::IpNet::V6(except), Direction::Ingress) => Rule::new().ip6_saddr(*except).drop(),
            (ipnet::IpNet::V6(except), Direction::Egress) => Rule::new().ip6_daddr(*except).drop(),
        })
        .collect()
}

fn deny_all_wins(world: &World, ruleset: &mut Ruleset) {
    for policy in world.policies.values() {
        for direction in Direction::BOTH {
            let jump = jump(policy, direction);
            if policy.rules(direction).is_some_and(<[_]>::is_empty) {
                for rules in isolations(ruleset, &[direction]).filter(|rules| rules.contains(&jump)) {
                    *rules = vec![Rule::new().drop()];
                }
            }
        }
    }
}

/// What comes first drops what is invalid; the jumps follow in the order of the policies' names.
fn first_policy_only(rules: &mut Vec<Rule>) {
    if rules.len() > 3 {
        rules.drain(2..rules.len() - 1);
    }
}

fn replace_established(ruleset: &mut Ruleset, by: &[Rule]) {
    let all = Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept();
    for chain in ["egress", "ingress", "input"] {
        let rules = rules(ruleset, chain);
        let Some(place) = rules.iter().position(|rule| *rule == all) else {
            panic!("chain {chain} does not accept established connections any more; this mutant has to follow");
        };
        rules.splice(place..=place, by.iter().cloned());
    }
}

fn skips_same_node_ingress(_world: &World, ruleset: &mut Ruleset) {
    let ingress = rules(ruleset, "ingress").clone();
    let established = ingress.first().cloned();
    *rules(ruleset, "egress") = established
        .into_iter()
        .chain([Rule::new().iifname_not_in(UPLINKS).jump("from-pod")])
        .chain(ingress.into_iter().skip(1))
        .collect();
    ruleset.chains.remove("ingress");
}

fn outside_is_open(world: &World, ruleset: &mut Ruleset) {
    let pods = world.pods.values().filter(|pod| !pod.host_network).flat_map(|pod| pod.addresses.iter().copied());
    let pods: Vec<Element> = pods.filter(|address| address.is_ipv4()).map(Element::new).collect();
    ruleset.set(Set::new("every-pod", [DataType::Ipv4Addr]), pods);
    rules(ruleset, "ingress").insert(0, Rule::new().iifname_in(UPLINKS).ip_saddr_not_in("every-pod").accept());
}

fn own_node_is_closed(_world: &World, ruleset: &mut Ruleset) {
    let chain = Chain::base("output", ChainType::Filter, Hook::Output, priority::FILTER, ChainPolicy::Accept);
    let closed = [
        Rule::new().icmpv6_type_range(130..=137).accept(),
        Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept(),
        Rule::new().oifname_in(UPLINKS).accept(),
        Rule::new().drop(),
    ];
    ruleset.chain(chain, closed);
}
