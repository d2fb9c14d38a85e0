//! Bugs in what is made of pods, namespaces and policies.

use std::collections::{BTreeMap, BTreeSet};

use netpol_enforcer::compile::Site;
use netpol_enforcer::world::pods::{ContainerPort, NAMESPACE_NAME_LABEL};
use netpol_enforcer::world::{Direction, Labels, NamedPort, Peer, Policy, Port, PortRange, Protocol, Selector, World};

use crate::mutant::{Bug, Mutant};

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "ignores-ingress",
        "N3 N4",
        "Ingress rules and isolation have no effect",
        Bug::World(|world, _| world.policies.values_mut().for_each(|policy| policy.ingress = None)),
    ),
    Mutant::new(
        "ignores-egress",
        "N3 N4",
        "Egress rules and isolation have no effect",
        Bug::World(|world, _| world.policies.values_mut().for_each(|policy| policy.egress = None)),
    ),
    Mutant::new(
        "policies-of-every-namespace",
        "N11",
        "A policy selects pods of every namespace",
        Bug::World(policies_of_every_namespace),
    ),
    Mutant::new(
        "no-namespace-name-label",
        "N27",
        "The label with a namespace's own name is not there",
        Bug::World(|world, _| {
            world.namespaces.values_mut().for_each(|namespace| drop(namespace.labels.remove(NAMESPACE_NAME_LABEL)));
        }),
    ),
    Mutant::new(
        "peers-of-own-node-only",
        "N4 N22 N23",
        "Pods of other nodes are nobody's peers",
        Bug::World(|world, site| world.pods.retain(|_, pod| pod.node.as_ref() == Some(&site.node))),
    ),
    Mutant::new(
        "first-address-only",
        "N31 P19 P21",
        "Of a pod's addresses only the first is known, so that its other family stays closed",
        Bug::World(|world, _| {
            world.pods.values_mut().for_each(|pod| pod.addresses = pod.addresses.iter().take(1).copied().collect());
        }),
    ),
    Mutant::new(
        "host-network-pods-are-peers",
        "N56 P18",
        "Selectors match hostNetwork pods: the node's address is a peer and a subject",
        Bug::World(|world, _| world.pods.values_mut().for_each(|pod| pod.host_network = false)),
    )
    .seen_by("`incremental` in enforcer/tests/kernel; nodes/host-network reports it, but what selectors do there is undefined"),
    Mutant::new(
        "completed-pods-are-peers",
        "N16 P16",
        "A completed pod keeps its address, as a peer and against its next owner",
        Bug::World(completed_pods_are_peers),
    ),
    Mutant::new(
        "terminating-pods-are-gone",
        "N3 P17",
        "A pod that is being deleted is neither enforced nor a peer any more",
        Bug::World(|world, _| world.pods.retain(|_, pod| !pod.terminating)),
    ),
    Mutant::new(
        "named-port-of-first-pod",
        "N41 P7",
        "A port's name has one number, that of the first pod that has it",
        Bug::World(named_port_of_first_pod),
    ),
    Mutant::new(
        "named-port-of-any-protocol",
        "N39 N40 P7",
        "A port's name counts whatever its protocol",
        Bug::World(named_port_of_any_protocol),
    ),
    Mutant::new(
        "named-port-of-sender",
        "N40 P7",
        "A port's name in an egress rule is resolved on the sending pod",
        Bug::World(named_port_of_sender),
    ),
];

fn named(labels: &Labels) -> Selector {
    let terms = labels.clone();
    let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
        match_labels: Some(terms),
        match_expressions: None,
    };
    Selector::read(&selector).unwrap_or_default()
}

fn policies_of_every_namespace(world: &mut World, _site: &Site) {
    let own: Vec<Policy> = world.policies.values().cloned().collect();
    for (namespace, mut policy) in
        world.namespaces.keys().flat_map(|namespace| own.iter().map(move |policy| (namespace, policy.clone())))
    {
        if *namespace == policy.key.namespace {
            continue;
        }
        let home = named(&[(NAMESPACE_NAME_LABEL.to_owned(), policy.key.namespace.clone())].into());
        for peer in policy
            .ingress
            .iter_mut()
            .chain(&mut policy.egress)
            .flatten()
            .flat_map(|rule| rule.peers.iter_mut().flatten())
        {
            if let Peer::Pods { namespaces: namespaces @ None, .. } = peer {
                *namespaces = Some(home.clone());
            }
        }
        policy.key.name = format!("{}.{}", policy.key.namespace, policy.key.name);
        policy.key.namespace = namespace.clone();
        world.policies.insert(policy.key.clone(), policy);
    }
}

fn completed_pods_are_peers(world: &mut World, _site: &Site) {
    let newest = world.pods.values().map(|pod| pod.created.clone()).max().unwrap_or_default();
    for pod in world.pods.values_mut().filter(|pod| pod.completed) {
        pod.completed = false;
        pod.created = format!("{newest}~");
    }
}

fn named_port_of_first_pod(world: &mut World, _site: &Site) {
    let mut numbers: BTreeMap<(String, Protocol), u16> = BTreeMap::new();
    for port in world.pods.values_mut().flat_map(|pod| &mut pod.ports) {
        port.number = *numbers.entry((port.name.clone(), port.protocol)).or_insert(port.number);
    }
}

fn named_port_of_any_protocol(world: &mut World, _site: &Site) {
    for pod in world.pods.values_mut() {
        let every = |port: &ContainerPort| {
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| ContainerPort { protocol, ..port.clone() })
        };
        let more: Vec<_> = pod.ports.iter().flat_map(every).collect();
        pod.ports.extend(more);
    }
}

fn named_port_of_sender(world: &mut World, _site: &Site) {
    let pods = world.pods.clone();
    for policy in world.policies.values_mut() {
        let senders = pods
            .values()
            .filter(|pod| pod.key.namespace == policy.key.namespace && policy.subject.matches(&pod.labels));
        let senders: Vec<_> = senders.collect();
        let numbers = |port: &NamedPort| -> BTreeSet<u16> { senders.iter().filter_map(|pod| pod.port(port)).collect() };
        for ports in policy.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut()) {
            let resolved = ports.iter().flat_map(|port| match port {
                Port::Range(_) => vec![port.clone()],
                Port::Named(name) => {
                    let range =
                        |number| Port::Range(PortRange { protocol: name.protocol, first: number, last: number });
                    numbers(name).into_iter().map(range).collect()
                }
            });
            *ports = resolved.collect();
        }
    }
}

/// Its rules for a direction, to be bent.
pub(crate) fn rules_mut(policy: &mut Policy, direction: Direction) -> &mut Option<Vec<netpol_enforcer::world::Rule>> {
    match direction {
        Direction::Ingress => &mut policy.ingress,
        Direction::Egress => &mut policy.egress,
    }
}
