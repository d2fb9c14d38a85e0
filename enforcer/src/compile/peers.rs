//! Sets of peer addresses: those of pods, shared by selector, and those of CIDRs.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netpol_nft::{AddressRanges, DataType, Element, Ruleset, Set};

use super::names::{comment, set_name};
use crate::world::{IpBlock, Peer, Pod, Selector, World};

/// Adds the set of the peer's IPv4 addresses, seen from a policy in `namespace`, and returns its name. None if no IPv4
/// address can ever be in it: an IPv6 block (P21).
pub(super) fn add(peer: &Peer, namespace: &str, world: &World, ruleset: &mut Ruleset) -> Option<String> {
    match peer {
        Peer::Pods { namespaces, pods } => Some(add_pods(namespaces.as_ref(), pods, namespace, world, ruleset)),
        Peer::Block(block) => add_block(block, ruleset),
    }
}

fn add_pods(namespaces: Option<&Selector>, pods: &Selector, own: &str, world: &World, ruleset: &mut Ruleset) -> String {
    let text = match namespaces {
        None => format!("namespace {own}, pods {pods}"),
        Some(namespaces) => format!("namespaces {namespaces}, pods {pods}"),
    };
    let name = set_name("pods", &text);
    if !ruleset.sets.contains_key(&name) {
        let addresses: BTreeSet<Ipv4Addr> = world
            .pods
            .values()
            .filter(|pod| pod.is_selectable() && pods.matches(&pod.labels) && is_in(pod, namespaces, own, world))
            .flat_map(ipv4)
            .collect();
        let set = Set::new(name.clone(), [DataType::Ipv4Addr]).comment(comment(&text));
        ruleset.set(set, addresses.into_iter().map(Element::new));
    }
    name
}

/// Whether a pod lives in the namespaces that a peer names (N22–N24). A namespace that is not known yet matches nothing,
/// not even `{}`: its labels may say otherwise (P28).
fn is_in(pod: &Pod, namespaces: Option<&Selector>, own: &str, world: &World) -> bool {
    match namespaces {
        None => pod.key.namespace == own,
        Some(selector) => {
            world.namespaces.get(&pod.key.namespace).is_some_and(|namespace| selector.matches(&namespace.labels))
        }
    }
}

/// The IPv4 addresses of a pod.
pub(super) fn ipv4(pod: &Pod) -> impl Iterator<Item = Ipv4Addr> + '_ {
    pod.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}

/// The set of a block's addresses: its CIDR, cut at the holes, which limit this block alone (P9). One without any address
/// gives an empty set.
fn add_block(block: &IpBlock, ruleset: &mut Ruleset) -> Option<String> {
    if matches!(block.cidr, IpNet::V6(_)) {
        return None;
    }
    let mut ranges = AddressRanges::new();
    ranges.insert_block(block.cidr, block.except.iter().copied());
    let elements: Vec<Element> = ranges.elements_v4().collect();
    let text: Vec<String> = elements.iter().map(ToString::to_string).collect();
    let name = set_name("block", &text.join(","));
    let holes: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    let note = match holes.is_empty() {
        true => block.cidr.to_string(),
        false => format!("{} except {}", block.cidr, holes.join(" ")),
    };
    if !ruleset.sets.contains_key(&name) {
        ruleset.set(Set::new(name.clone(), [DataType::Ipv4Addr]).interval().comment(comment(&note)), elements);
    }
    Some(name)
}
