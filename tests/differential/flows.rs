//! Which packets are tried in a world, and what the oracle says of them at this node.

use std::net::IpAddr;

use ipnet::IpNet;
use netpol_oracle::{End, Family, Flow, Judgement, Specification, Traffic};

use crate::generate::Generator;
use crate::packet::Opening;
use crate::place::{NODE, NODES, Place, is_outside, node_address};
use crate::policies::NUMBERS;
use crate::world::{World, addresses, has_ended, is_host_network, name};

/// How many packets are tried in one state of a world.
const PACKETS: usize = 80;

/// A packet and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) flow: Flow,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
}

impl Attempt {
    /// The same packet under a number of its own.
    pub(crate) fn opening(&self, number: u32) -> Opening {
        Opening { from: self.from, to: self.to, traffic: self.flow.traffic, number }
    }
}

impl Attempt {
    /// Whether both ends are in this world, under these addresses, and nobody else is at them.
    pub(crate) fn is_of(&self, world: &World) -> bool {
        let owners = world.owners();
        [(&self.flow.from, self.from), (&self.flow.to, self.to)].into_iter().all(|(end, address)| match end {
            End::Pod(pod) => world.pods.iter().any(|it| {
                let on_node = it.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(NODE);
                let as_there = match Place::of(address) {
                    Place::Slot(slot) => {
                        owners.get(&slot).is_some_and(|owners| owners.len() == 1) && on_node && !is_host_network(it)
                    }
                    Place::Node => on_node && is_host_network(it),
                    Place::Uplink => !on_node,
                };
                name(it) == *pod && addresses(it).contains(&address) && as_there
            }),
            _ => true,
        })
    }
}

/// What the oracle says: whether the packet gets through this node, and why. None where a world has not both ends.
pub(crate) fn judge(specification: &Specification, attempt: &Attempt) -> Option<(bool, Judgement)> {
    let judgement = specification.judge(&attempt.flow).ok()?;
    // The other nodes judge the other ends.
    let leaves_a_pod = matches!(Place::of(attempt.from), Place::Slot(_));
    let enters_a_pod = matches!(Place::of(attempt.to), Place::Slot(_));
    let passes =
        (!leaves_a_pod || judgement.reason.egress.allows()) && (!enters_a_pod || judgement.reason.ingress.allows());
    Some((passes, judgement))
}

/// Packets with at least one of the node's pods at an end.
pub(crate) fn attempts(generator: &mut Generator, world: &World) -> Vec<Attempt> {
    let ends = ends(generator, world);
    let subjects: Vec<&(End, IpAddr)> =
        ends.iter().filter(|(_, ip)| matches!(Place::of(*ip), Place::Slot(_))).collect();
    let mut attempts = Vec::new();
    for _ in 0..PACKETS * 4 {
        if subjects.is_empty() || attempts.len() == PACKETS {
            break;
        }
        let subject = subjects[generator.random.usize(..subjects.len())];
        let peer = &ends[generator.random.usize(..ends.len())];
        let (from, to) = if generator.chance(50) { (subject, peer) } else { (peer, subject) };
        // Nothing of a pod's to itself ever leaves it (N50).
        if from.1.is_ipv4() == to.1.is_ipv4() && Place::of(from.1) != Place::of(to.1) {
            let traffic = traffic(generator, world);
            let flow = Flow { from: from.0.clone(), to: to.0.clone(), traffic, family: Family::of(from.1) };
            attempts.push(Attempt { flow, from: from.1, to: to.1 });
        }
    }
    attempts
}

/// Everybody who can be at an end of a packet, with the address that they have.
fn ends(generator: &mut Generator, world: &World) -> Vec<(End, IpAddr)> {
    let mut ends = Vec::new();
    let owners = world.owners();
    for pod in world.pods.iter().filter(|pod| !has_ended(pod)) {
        for address in addresses(pod) {
            let disputed = match Place::of(address) {
                Place::Slot(slot) => owners.get(&slot).is_some_and(|owners| owners.len() > 1),
                _ => false,
            };
            if !disputed {
                ends.push((End::Pod(name(pod)), address));
            }
        }
    }
    for family in [Family::V4, Family::V6] {
        for (node, index) in NODES.iter().zip(0..) {
            ends.push((End::Node(node.to_string()), node_address(index, family)));
        }
    }
    let outside = edges(world).into_iter().filter(|address| is_outside(*address));
    let mut outside: Vec<IpAddr> = outside.collect();
    generator.random.shuffle(&mut outside);
    outside.truncate(8);
    outside.extend(["203.0.113.9", "2001:db8::9"].iter().filter_map(|text| text.parse::<IpAddr>().ok()));
    ends.extend(outside.into_iter().map(|address| (End::Outside(address), address)));
    ends
}

/// The first and last addresses of every block and hole, and their neighbours.
fn edges(world: &World) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for spec in world.policies.iter().filter_map(|policy| policy.spec.as_ref()) {
        let from = spec.ingress.iter().flatten().flat_map(|rule| rule.from.iter().flatten());
        let to = spec.egress.iter().flatten().flat_map(|rule| rule.to.iter().flatten());
        for block in from.chain(to).filter_map(|peer| peer.ip_block.as_ref()) {
            for net in std::iter::once(&block.cidr).chain(block.except.iter().flatten()) {
                match net.parse::<IpNet>() {
                    Ok(IpNet::V4(net)) => {
                        let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                        let near = [first, last, first.saturating_sub(1), last.saturating_add(1)];
                        edges.extend(near.map(|bits| IpAddr::V4(bits.into())));
                    }
                    Ok(IpNet::V6(net)) => {
                        let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
                        let near = [first, last, first.saturating_sub(1), last.saturating_add(1)];
                        edges.extend(near.map(|bits| IpAddr::V6(bits.into())));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    edges
}

fn traffic(generator: &mut Generator, world: &World) -> Traffic {
    let mut ports: Vec<u16> = NUMBERS.to_vec();
    for spec in world.pods.iter().filter_map(|pod| pod.spec.as_ref()) {
        let all = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
        ports.extend(all.map(|port| port.container_port as u16));
    }
    let port = generator.pick(&ports);
    let port = match generator.random.u8(..8) {
        0 => port.saturating_add(1).min(19_999),
        1 => port.saturating_sub(1).max(1),
        _ => port,
    };
    match generator.random.u8(..8) {
        0..4 => Traffic::Tcp(port),
        4..6 => Traffic::Udp(port),
        6 => Traffic::Sctp(port),
        _ => Traffic::Icmp,
    }
}
