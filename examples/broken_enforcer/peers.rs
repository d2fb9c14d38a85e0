//! Bugs in peers: selectors beside each other, and address blocks.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::mutant::{Bug, Mutant};
use crate::reading::{nobody, peers, rules};

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "pod-selector-of-all-namespaces",
        "N22",
        "A podSelector alone means pods of every namespace",
        Bug::Reading(|spec| {
            peers(spec).filter(|peer| peer.pod_selector.is_some()).for_each(|peer| {
                peer.namespace_selector.get_or_insert_default();
            });
        }),
    ),
    Mutant::new(
        "namespace-selector-of-own-namespace",
        "N23",
        "A namespaceSelector is ignored: pods of the policy's own namespace are meant",
        Bug::Reading(|spec| {
            peers(spec).filter(|peer| peer.namespace_selector.is_some()).for_each(|peer| {
                peer.namespace_selector = None;
                peer.pod_selector.get_or_insert_default();
            });
        }),
    ),
    Mutant::new(
        "selectors-are-alternatives",
        "N24",
        "The two selectors of one peer are alternatives",
        Bug::Reading(|spec| rules(spec).for_each(|(peers, _)| selectors_are_alternatives(peers))),
    ),
    Mutant::new(
        "peers-must-all-match",
        "N19 N24",
        "The peers of a rule are joined into one, which has to match as a whole",
        Bug::Reading(|spec| rules(spec).for_each(|(peers, _)| peers_must_all_match(peers))),
    ),
    Mutant::new(
        "empty-peer-selector-is-nobody",
        "N25 P37",
        "An empty selector in a peer matches nothing",
        Bug::Reading(|spec| {
            peers(spec)
                .flat_map(|peer| peer.pod_selector.iter_mut().chain(&mut peer.namespace_selector))
                .filter(|selector| **selector == LabelSelector::default())
                .for_each(|selector| *selector = nobody());
        }),
    ),
    Mutant::new(
        "except-ignored",
        "N29",
        "The holes of an address block are not there",
        Bug::Reading(|spec| blocks(spec).for_each(|block| block.except = None)),
    ),
    Mutant::new(
        "first-except-only",
        "N29",
        "Only the first hole of an address block counts",
        Bug::Reading(|spec| blocks(spec).flat_map(|block| &mut block.except).for_each(|holes| holes.truncate(1))),
    ),
    Mutant::new(
        "blocks-of-whole-bytes",
        "N29 P11",
        "An address block is widened to the next whole byte",
        Bug::Reading(|spec| blocks(spec).for_each(widened)),
    )
    .seen_by("nft/tests/address_ranges.rs; where pods have which addresses no suite knows, so that none can draw a line between two"),
    Mutant::new(
        "every-address-matches-nothing",
        "N29 P11",
        "The block of all addresses, of prefix length 0, matches nothing",
        Bug::Reading(|spec| without_blocks(spec, |cidr| cidr.prefix_len() == 0)),
    ),
    Mutant::new(
        "v4-block-opens-v6",
        "N31 P21",
        "A rule with an IPv4 block lets every IPv6 address in as well",
        Bug::Reading(|spec| other_family_is_open(spec, false)),
    ),
];

fn blocks(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut IPBlock> {
    peers(spec).flat_map(|peer| &mut peer.ip_block)
}

fn selectors_are_alternatives(peers: &mut Option<Vec<NetworkPolicyPeer>>) {
    let both = |peer: &NetworkPolicyPeer| peer.pod_selector.is_some() && peer.namespace_selector.is_some();
    if let Some(peers) = peers {
        let pods: Vec<_> = peers
            .iter()
            .filter(|peer| both(peer))
            .map(|peer| NetworkPolicyPeer { namespace_selector: None, ..peer.clone() })
            .collect();
        peers.iter_mut().filter(|peer| both(peer)).for_each(|peer| peer.pod_selector = None);
        peers.extend(pods);
    }
}

fn peers_must_all_match(peers: &mut Option<Vec<NetworkPolicyPeer>>) {
    let Some(listed) = peers else { return };
    if listed.len() < 2 || listed.iter().any(|peer| peer.ip_block.is_some()) {
        return;
    }
    let joined = |selectors: Vec<&LabelSelector>| {
        let mut all = LabelSelector::default();
        for selector in selectors {
            all.match_labels.get_or_insert_default().extend(selector.match_labels.clone().unwrap_or_default());
            all.match_expressions
                .get_or_insert_default()
                .extend(selector.match_expressions.clone().unwrap_or_default());
        }
        all
    };
    let namespaces: Vec<_> = listed.iter().filter_map(|peer| peer.namespace_selector.as_ref()).collect();
    let pods: Vec<_> = listed.iter().filter_map(|peer| peer.pod_selector.as_ref()).collect();
    let one = NetworkPolicyPeer {
        namespace_selector: (!namespaces.is_empty()).then(|| joined(namespaces)),
        pod_selector: (!pods.is_empty()).then(|| joined(pods)),
        ip_block: None,
    };
    *peers = Some(vec![one]);
}

fn widened(block: &mut IPBlock) {
    let Ok(cidr) = block.cidr.parse::<IpNet>() else { return };
    if let Ok(wider) = IpNet::new(cidr.addr(), cidr.prefix_len() / 8 * 8) {
        block.cidr = wider.trunc().to_string();
    }
}

/// Takes blocks out; a rule that had no other peer keeps one that nobody matches.
fn without_blocks(spec: &mut NetworkPolicySpec, out: fn(&IpNet) -> bool) {
    let is_out = |peer: &NetworkPolicyPeer| {
        peer.ip_block.as_ref().and_then(|block| block.cidr.parse().ok()).is_some_and(|cidr| out(&cidr))
    };
    peers(spec).filter(|peer| is_out(peer)).for_each(|peer| {
        *peer = NetworkPolicyPeer { pod_selector: Some(nobody()), ..NetworkPolicyPeer::default() };
    });
}

fn other_family_is_open(spec: &mut NetworkPolicySpec, v6: bool) {
    for peers in rules(spec).filter_map(|(peers, _)| peers.as_mut()) {
        let of_family = |block: &IPBlock| block.cidr.contains(':') == v6;
        if peers.iter().filter_map(|peer| peer.ip_block.as_ref()).any(of_family) {
            let cidr = if v6 { "0.0.0.0/0" } else { "::/0" }.to_owned();
            let block = IPBlock { cidr, except: None };
            peers.push(NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() });
        }
    }
}
