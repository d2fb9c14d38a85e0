//! The rules of one node, at the hooks and priorities that kube-proxy uses, so that a policy is judged after the
//! destination was translated and before the source is (P12, P34).
//!
//! | what | when |
//! |---|---|
//! | to a Service's address, or a node port of this node | the destination becomes one of the backends |
//! | … from outside the pods' network, by a node port with policy Cluster, or back to the sender itself | the source becomes the node's |
//! | … with session affinity | the client is remembered with its backend, which it gets again |
//! | … without a backend | refused; dropped where only other nodes have one and the policy is Local |
//! | from a pod to what is no pod, leaving the node | the source becomes the node's, as with kindnet and `netpol cni` |

use std::net::IpAddr;

use ipnet::IpNet;
use netpol_nft::{
    Base, Chain, ChainType, CtState, DataType, Element, Field, Hook, Key, NatFlag, Numgen, Policy, Reject, Rule,
    Ruleset, Set, Table, Verdict, priority,
};

use super::backends::{Backend, TranslatedPort};
use super::proxy::ProxiedNode;
use crate::net::addresses::Family;

/// The table.
const TABLE: &str = "netpol-services";
/// The mark of packets whose source is to become the node's; kube-proxy's.
const MASQUERADE: u32 = 0x4000;
/// Before the translation: kube-proxy's priority for refusals.
const BEFORE: i32 = priority::DSTNAT - 10;
const AFTER: i32 = priority::DSTNAT + 10;

/// Clients that are remembered for one backend, at most.
const CLIENTS: u32 = 65_535;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The whole table of a node.
pub(super) fn ruleset(ports: &[TranslatedPort], node: &ProxiedNode) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet(TABLE));
    let mut maps: [Maps; 2] = [Maps::default(), Maps::default()];
    for port in ports {
        let family = Family::of(port.address);
        let index = usize::from(family == Family::V6);
        add(&mut ruleset, &mut maps[index], family, port, node);
    }
    for (family, maps) in FAMILIES.into_iter().zip(maps) {
        let address = address_type(family);
        let port = [DataType::InetProto, DataType::InetService];
        let key = [&[address][..], &port].concat();
        ruleset.set(Set::verdict_map(named("services", family), key.clone()), maps.services);
        ruleset.set(Set::verdict_map(named("node-ports", family), key.clone()), maps.node_ports);
        ruleset.set(Set::verdict_map(named("unanswered", family), key), maps.unanswered);
        ruleset.set(Set::new(named("addresses", family), [address]), maps.addresses);
    }
    base(&mut ruleset, node);
    ruleset
}

#[derive(Default)]
struct Maps {
    services: Vec<Element>,
    node_ports: Vec<Element>,
    unanswered: Vec<Element>,
    addresses: Vec<Element>,
}

/// The chains of one port, and its entries in the maps that lead there.
fn add(ruleset: &mut Ruleset, maps: &mut Maps, family: Family, port: &TranslatedPort, node: &ProxiedNode) {
    let name = format!("{}/{}", port.name, family.name());
    let to =
        |address: IpAddr, number: u16| Element::new(Key(vec![address.into(), port.protocol.into(), number.into()]));
    let (all, here) = (port.backends(None), port.backends(Some(&node.name)));
    for backend in all.iter().chain(&here) {
        let (chain, rules) = answer(&name, port, backend);
        ruleset.chain(chain, rules);
        if port.affinity.is_some() {
            let set = Set::new(clients(&name, backend), [address_type(family)]).filled_by_packets(CLIENTS);
            ruleset.set(set, []);
        }
    }
    let one_of = |rule: Rule, backends: &[Backend]| {
        let chains = backends.iter().map(|backend| Verdict::goto(answering(&name, backend)));
        let any = match backends {
            [one] => rule.clone().goto(answering(&name, one)),
            _ => {
                let count = u32::try_from(backends.len()).unwrap_or(u32::MAX);
                rule.clone().numgen_vmap(Numgen::random(count), chains)
            }
        };
        // Before the choice: whoever was here comes back to the same one.
        let again = backends.iter().filter(|_| port.affinity.is_some()).map(|backend| {
            rule.clone().lookup(&[source_field(family)], clients(&name, backend)).goto(answering(&name, backend))
        });
        again.chain([any]).collect::<Vec<Rule>>()
    };
    // Dropped where others could answer, refused where nobody can.
    let unanswered = || if all.is_empty() { Verdict::goto("refuse") } else { Verdict::Drop };
    let pods = family.cluster_cidr();

    let service = format!("service/{name}");
    let inside = if port.internal_local { &here } else { &all };
    let known = |address: &Element| maps.addresses.contains(address);
    let own = Element::new(port.address);
    if !known(&own) {
        maps.addresses.push(own);
    }
    if inside.is_empty() {
        maps.unanswered.push(to(port.address, port.port).verdict(unanswered()));
    } else {
        let masquerade = source_not(pods).set_mark(MASQUERADE);
        ruleset.chain(Chain::regular(&service), std::iter::once(masquerade).chain(one_of(Rule::new(), inside)));
        maps.services.push(to(port.address, port.port).verdict(Verdict::goto(&service)));
    }

    let Some(number) = port.node_port else { return };
    let Some(address) = node.addresses.iter().copied().find(|address| Family::of(*address) == family) else { return };
    let external = format!("node-port/{name}");
    let mut rules = Vec::new();
    if !all.is_empty() && port.external_local {
        // Traffic of the cluster's own is not external.
        let own = source(address.into());
        rules.extend(one_of(source(pods), &all));
        rules.push(own.clone().set_mark(MASQUERADE));
        rules.extend(one_of(own, &all));
        if !here.is_empty() {
            rules.extend(one_of(Rule::new(), &here));
        }
    } else if !all.is_empty() {
        rules.push(Rule::new().set_mark(MASQUERADE));
        rules.extend(one_of(Rule::new(), &all));
    }
    if !rules.is_empty() {
        ruleset.chain(Chain::regular(&external), rules);
        maps.node_ports.push(to(address, number).verdict(Verdict::goto(&external)));
    }
    if all.is_empty() || port.external_local && here.is_empty() {
        maps.unanswered.push(to(address, number).verdict(unanswered()));
    }
}

fn answering(port: &str, backend: &Backend) -> String {
    format!("backend/{port}/{}/{}", backend.address, backend.port)
}

fn answer(name: &str, port: &TranslatedPort, backend: &Backend) -> (Chain, Vec<Rule>) {
    let hairpin = source(backend.address.into()).set_mark(MASQUERADE);
    let remember = port.affinity.map(|time| {
        let client = source_field(Family::of(backend.address));
        Rule::new().update(clients(name, backend), &[client], time)
    });
    let translate = Rule::new().l4proto(port.protocol).dnat(backend.address, Some(backend.port));
    let rules = [Some(hairpin), remember, Some(translate)].into_iter().flatten().collect();
    (Chain::regular(answering(name, backend)), rules)
}

/// The set of the clients that come back to this backend.
fn clients(port: &str, backend: &Backend) -> String {
    format!("clients/{port}/{}/{}", backend.address, backend.port)
}

fn source_field(family: Family) -> Field {
    if family == Family::V4 { Field::IpSaddr } else { Field::Ip6Saddr }
}

/// The base chains, and what they do for every packet.
fn base(ruleset: &mut Ruleset, node: &ProxiedNode) {
    let chain = |name: &str, kind, hook, at| {
        let base = Base { kind, hook, priority: at, policy: Policy::Accept };
        Chain { base: Some(base), ..Chain::regular(name) }
    };
    let each = |map: &str| FAMILIES.map(|family| Rule::new().vmap(&destination(family), named(map, family)));
    ruleset.chain(Chain::regular("translate"), each("services").into_iter().chain(each("node-ports")));
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        ruleset.chain(chain(name, ChainType::Nat, hook, priority::DSTNAT), [Rule::new().jump("translate")]);
    }

    ruleset.chain(Chain::regular("refuse"), [Rule::new().reject(Reject::PortUnreachable)]);
    let fresh = || Rule::new().ct_state(&[CtState::New]);
    let unanswered = || FAMILIES.map(|family| fresh().vmap(&destination(family), named("unanswered", family)));
    let wrong_port = || {
        FAMILIES.map(|family| match family {
            Family::V4 => fresh().ip_daddr_in(named("addresses", family)).goto("refuse"),
            Family::V6 => fresh().ip6_daddr_in(named("addresses", family)).goto("refuse"),
        })
    };
    let filter = |name: &str, hook, at| chain(name, ChainType::Filter, hook, at);
    ruleset.chain(filter("check-input", Hook::Input, BEFORE), unanswered());
    ruleset.chain(filter("check-forward", Hook::Forward, BEFORE), unanswered().into_iter().chain(wrong_port()));
    ruleset.chain(filter("check-output", Hook::Output, BEFORE), unanswered());
    ruleset.chain(filter("check-output-translated", Hook::Output, AFTER), wrong_port());

    let marked = Rule::new().mark(MASQUERADE).set_mark(0).masquerade_with(&[NatFlag::FullyRandom]);
    let leaving = node.pod_cidrs.iter().map(|own| {
        let rule = source(*own).oifname("eth0");
        match Family::of(own.addr()).cluster_cidr() {
            IpNet::V4(cluster) => rule.ip_daddr_not(cluster),
            IpNet::V6(cluster) => rule.ip6_daddr_not(cluster),
        }
        .masquerade()
    });
    let postrouting = chain("postrouting", ChainType::Nat, Hook::Postrouting, priority::SRCNAT);
    ruleset.chain(postrouting, std::iter::once(marked).chain(leaving));
}

fn named(what: &str, family: Family) -> String {
    format!("{what}-{}", family.name().to_lowercase())
}

fn destination(family: Family) -> [Field; 3] {
    let address = if family == Family::V4 { Field::IpDaddr } else { Field::Ip6Daddr };
    [address, Field::L4proto, Field::Dport]
}

fn address_type(family: Family) -> DataType {
    if family == Family::V4 { DataType::Ipv4Addr } else { DataType::Ipv6Addr }
}

fn source(network: IpNet) -> Rule {
    match network {
        IpNet::V4(network) => Rule::new().ip_saddr(network),
        IpNet::V6(network) => Rule::new().ip6_saddr(network),
    }
}

fn source_not(network: IpNet) -> Rule {
    match network {
        IpNet::V4(network) => Rule::new().ip_saddr_not(network),
        IpNet::V6(network) => Rule::new().ip6_saddr_not(network),
    }
}
