//! Sets that rules refer to, by what they hold: shared by all rules that need the same contents.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netpol_nft::{AddressRanges, DataType, Element, Field, Protocol as NftProtocol, Rule, Set};

use super::families::AddressFamily;
use super::names::{comment, set_name};
use crate::world::{Direction, IpBlock, NamedPort, Pod, PortRange, Selector, World};

/// What a set holds. Those of pods exist once per family, those of an address block in its own family, those of ports once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKey {
    /// The addresses of pods that are selected (N22–N25).
    Pods(Scope, Selector),
    /// The addresses of all pods, each with the number that the pod has for this name (N40, N41).
    NamedPort(NamedPort),
    /// The addresses of a block.
    Block(IpBlock),
    /// Ports by number, ordered and disjoint.
    Ports(Vec<PortRange>),
}

/// The namespaces that a peer's pods are in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One, by its name (N22).
    Namespace(String),
    /// Those whose labels match (N23, N24).
    Matching(Selector),
}

impl Scope {
    /// Whether it takes in the namespace of this name. One that is not known yet matches nothing, not even `{}`: its labels may
    /// say otherwise (P28).
    pub(super) fn contains(&self, namespace: &str, world: &World) -> bool {
        match self {
            Self::Namespace(own) => own == namespace,
            Self::Matching(selector) => {
                world.namespaces.get(namespace).is_some_and(|namespace| selector.matches(&namespace.labels))
            }
        }
    }
}

impl SetKey {
    /// The set of these ports. Ranges that overlap or touch are merged (P8, P10).
    pub(super) fn ports<'a>(ports: impl IntoIterator<Item = &'a PortRange>) -> Self {
        let sorted: BTreeSet<PortRange> = ports.into_iter().copied().collect();
        let mut merged: Vec<PortRange> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if last.protocol == range.protocol && range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self::Ports(merged)
    }

    /// The families in which the kernel has it; none for ports, which are the same in both.
    pub(super) fn families(&self) -> Vec<Option<AddressFamily>> {
        match self {
            Self::Pods(..) | Self::NamedPort(_) => AddressFamily::BOTH.map(Some).into(),
            Self::Block(block) => vec![Some(AddressFamily::of(block.cidr.addr()))],
            Self::Ports(_) => vec![None],
        }
    }

    /// The kernel's set in a family.
    pub(super) fn set(&self, family: Option<AddressFamily>) -> Set {
        let addresses = family.map(AddressFamily::data_type);
        let name = self.name();
        let name = family.map_or_else(|| name.clone(), |family| format!("{name}-{}", family.suffix()));
        match self {
            Self::Pods(..) => Set::new(name, Vec::from_iter(addresses)).comment(comment(&self.text())),
            Self::NamedPort(_) => {
                let port = [DataType::InetProto, DataType::InetService];
                Set::new(name, addresses.into_iter().chain(port).collect::<Vec<_>>())
            }
            Self::Block(_) => Set::new(name, Vec::from_iter(addresses)).interval().comment(comment(&self.text())),
            Self::Ports(ranges) => {
                let set = Set::new(name, [DataType::InetProto, DataType::InetService]);
                // A hash is quicker than an interval set where single ports are all there is.
                if ranges.iter().all(|range| range.first == range.last) { set } else { set.interval() }
            }
        }
    }

    /// Whether a kernel's set of this name holds pods' addresses and nothing else.
    pub(super) fn is_of_pods(name: &str) -> bool {
        name.starts_with("pods/")
    }

    /// Its name without the family.
    fn name(&self) -> String {
        match self {
            Self::Pods(..) => set_name("pods", &self.text()),
            Self::NamedPort(port) => {
                format!("named-port/{}/{}", port.name, NftProtocol(port.protocol.number()))
            }
            Self::Block(_) => set_name("block", &self.text()),
            Self::Ports(_) => set_name("ports", &self.text()),
        }
    }

    /// What it holds, for people and to tell it from others.
    fn text(&self) -> String {
        match self {
            Self::Pods(Scope::Namespace(own), pods) => format!("namespace {own}, pods {pods}"),
            Self::Pods(Scope::Matching(namespaces), pods) => format!("namespaces {namespaces}, pods {pods}"),
            Self::NamedPort(port) => port.name.clone(),
            Self::Block(IpBlock { cidr, except }) => {
                let holes: Vec<String> = except.iter().map(ToString::to_string).collect();
                if holes.is_empty() { cidr.to_string() } else { format!("{cidr} except {}", holes.join(" ")) }
            }
            Self::Ports(ranges) => {
                let text = |range: &PortRange| format!("{}:{}-{}", range.protocol.number(), range.first, range.last);
                ranges.iter().map(text).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// The rule, further limited to packets whose other end is in the set of peers.
    pub(super) fn peer(&self, rule: Rule, direction: Direction, family: Option<AddressFamily>) -> Rule {
        let set = self.set(family).name;
        family.map_or_else(|| rule.clone(), |family| family.peer_in(rule.clone(), direction, set))
    }

    /// The rule, further limited to packets for the ports in the set.
    pub(super) fn port(&self, rule: Rule, family: Option<AddressFamily>) -> Rule {
        let port = [Field::L4proto, Field::Dport];
        let address = family.map(AddressFamily::destination);
        rule.lookup(&address.into_iter().chain(port).collect::<Vec<_>>(), self.set(family).name)
    }

    /// The elements that follow from the key alone; none in a set of pods.
    pub(super) fn fixed_elements(&self) -> Vec<Element> {
        match self {
            Self::Pods(..) | Self::NamedPort(_) => Vec::new(),
            Self::Block(IpBlock { cidr, except }) => {
                let mut ranges = AddressRanges::new();
                // The holes limit this block alone (P9).
                ranges.insert_block(*cidr, except.iter().copied());
                match cidr {
                    IpNet::V4(_) => ranges.elements_v4().collect(),
                    IpNet::V6(_) => ranges.elements_v6().collect(),
                }
            }
            Self::Ports(ranges) => ranges
                .iter()
                .map(|range| {
                    let protocol = NftProtocol(range.protocol.number());
                    Element::new((protocol, range.first)).to((protocol, range.last))
                })
                .collect(),
        }
    }

    /// What the set holds of a pod's addresses; none if the pod is not meant.
    pub(super) fn holds(&self, pod: &Pod, world: &World) -> Option<Held> {
        match self {
            Self::Pods(scope, pods) => {
                (pods.matches(&pod.labels) && scope.contains(&pod.key.namespace, world)).then_some(Held::Address)
            }
            Self::NamedPort(port) => pod.port(port).map(Held::Port),
            Self::Block(_) | Self::Ports(_) => None,
        }
    }

    /// The element by which it holds an address.
    pub(super) fn element(&self, address: IpAddr, held: Held) -> Element {
        match (self, held) {
            (Self::NamedPort(NamedPort { protocol, .. }), Held::Port(number)) => {
                Element::new((address, NftProtocol(protocol.number()), number))
            }
            _ => Element::new(address),
        }
    }
}

/// What a set holds of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The address.
    Address,
    /// The address with a port's number.
    Port(u16),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Protocol;

    fn tcp(first: u16, last: u16) -> PortRange {
        PortRange { protocol: Protocol::Tcp, first, last }
    }

    #[test]
    fn overlapping_and_touching_ranges_become_one() {
        let merged = SetKey::ports(&[tcp(85, 95), tcp(80, 90), tcp(96, 96), tcp(98, 99)]);
        assert_eq!(merged, SetKey::Ports(vec![tcp(80, 96), tcp(98, 99)]));
    }

    #[test]
    fn a_range_within_another_disappears() {
        assert_eq!(SetKey::ports(&[tcp(0, 65535), tcp(80, 80)]), SetKey::Ports(vec![tcp(0, 65535)]));
    }

    #[test]
    fn protocols_stay_apart() {
        let udp = PortRange { protocol: Protocol::Udp, first: 81, last: 81 };
        assert_eq!(SetKey::ports(&[udp, tcp(80, 80)]), SetKey::Ports(vec![tcp(80, 80), udp]));
    }
}
