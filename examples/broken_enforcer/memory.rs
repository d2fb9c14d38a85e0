//! Bugs in what is kept from one change to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netpol_enforcer::compile::{AddressFamily, Site, compile, dispatch_map};
use netpol_enforcer::world::{Direction, Labels, ObjectKey, Port, PortRange, World};
use netpol_nft::{Element, Rule, Ruleset, Verdict};

use crate::mutant::{Bug, Memory, Mutant};
use crate::ruleset::{isolations, jump};
use crate::world::rules_mut;

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "subject-relabel-missed",
        "N28",
        "A pod that changes its labels is a peer by the new ones, and isolated by the old ones",
        Bug::Memory(|| Box::new(Relabelled { first: BTreeMap::new(), stale: Stale::Subjects })),
    ),
    Mutant::new(
        "peer-relabel-missed",
        "N28",
        "A pod that changes its labels is isolated by the new ones, and a peer by the old ones",
        Bug::Memory(|| Box::new(Relabelled { first: BTreeMap::new(), stale: Stale::Peers })),
    ),
    Mutant::new(
        "namespace-relabel-missed",
        "N28 P20",
        "A namespace keeps the labels that it was first seen with",
        Bug::Memory(|| believing(|before, world| world.namespaces.extend(before.namespaces.clone()))),
    ),
    Mutant::new(
        "deleted-policy-stays",
        "N64",
        "A deleted policy stays in force",
        Bug::Memory(|| {
            believing(|before, world| {
                for (key, policy) in &before.policies {
                    world.policies.entry(key.clone()).or_insert_with(|| policy.clone());
                }
            })
        }),
    ),
    Mutant::new(
        "updated-policy-ignored",
        "N58",
        "A policy stays as it was first seen",
        Bug::Memory(|| {
            believing(|before, world| {
                for (key, policy) in &mut world.policies {
                    if let Some(first) = before.policies.get(key).filter(|first| first.uid == policy.uid) {
                        *policy = first.clone();
                    }
                }
            })
        }),
    ),
    Mutant::new(
        "recreated-pod-keeps-old-address",
        "N58 P16",
        "A pod that comes back under its name is known by its old address",
        Bug::Memory(|| {
            believing(|before, world| {
                for (key, pod) in &mut world.pods {
                    if let Some(first) = before.pods.get(key).filter(|first| !first.addresses.is_empty()) {
                        pod.addresses = first.addresses.clone();
                    }
                }
                for (key, gone) in &before.pods {
                    world.pods.entry(key.clone()).or_insert_with(|| gone.clone());
                }
            })
        }),
    ),
    Mutant::new(
        "named-port-resolved-once",
        "N40 N41 P7",
        "A port's name in an ingress rule is resolved when the policy is first seen, and never again",
        Bug::Memory(|| Box::new(ResolvedOnce::default())),
    ),
    Mutant::new(
        "new-pods-miss-old-policies",
        "N28 N60",
        "A pod that comes after a policy is not isolated by it",
        Bug::Memory(|| Box::new(NewPods::default())),
    ),
    Mutant::new(
        "new-pods-miss-old-peers",
        "N22 N23 N58",
        "A pod that comes after a policy is no peer of it",
        Bug::Memory(|| Box::new(Peers { sets: BTreeMap::new(), may: May::Shrink })),
    ),
    Mutant::new(
        "peers-only-grow",
        "N28",
        "What once was a peer stays one",
        Bug::Memory(|| Box::new(Peers { sets: BTreeMap::new(), may: May::Grow })),
    ),
    Mutant::new(
        "last-policy-wins",
        "N12",
        "Of a pod's policies only the one that came last counts",
        Bug::Memory(|| Box::new(LastPolicy::default())),
    ),
];

/// What is believed of the world follows from the world and from what was believed before.
struct Believed {
    world: World,
    believe: fn(&World, &mut World),
}

fn believing(believe: fn(&World, &mut World)) -> Box<dyn Memory> {
    Box::new(Believed { world: World::default(), believe })
}

impl Memory for Believed {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let mut now = world.clone();
        (self.believe)(&self.world, &mut now);
        self.world = now;
        compile(&self.world, site)
    }
}

/// Half of the ruleset follows the labels that pods were first seen with.
struct Relabelled {
    /// By uid.
    first: BTreeMap<String, Labels>,
    stale: Stale,
}

enum Stale {
    Subjects,
    Peers,
}

impl Memory for Relabelled {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let mut old = world.clone();
        for pod in old.pods.values_mut() {
            pod.labels = self.first.entry(pod.uid.clone()).or_insert_with(|| pod.labels.clone()).clone();
        }
        let (old, new) = (compile(&old, site), compile(world, site));
        let (mut ruleset, peers) = match self.stale {
            Stale::Subjects => (old, new),
            Stale::Peers => (new, old),
        };
        for (name, set) in peers.sets.into_iter().filter(|(name, _)| name.starts_with("pods/")) {
            ruleset.sets.entry(name).and_modify(|known| *known = set);
        }
        ruleset
    }
}

/// The ports by name of ingress rules, as they were when the policy was first seen.
#[derive(Default)]
struct ResolvedOnce {
    /// By the policy's uid.
    ports: BTreeMap<String, Vec<Option<Vec<Port>>>>,
}

impl Memory for ResolvedOnce {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let mut now = world.clone();
        for policy in now.policies.values_mut() {
            let subjects = world.pods_in(&policy.key.namespace).filter(|pod| policy.subject.matches(&pod.labels));
            let subjects: Vec<_> = subjects.collect();
            let resolve = |ports: &[Port]| -> Vec<Port> {
                ports
                    .iter()
                    .flat_map(|port| match port {
                        Port::Range(_) => vec![port.clone()],
                        Port::Named(name) => {
                            let numbers: BTreeSet<u16> = subjects.iter().filter_map(|pod| pod.port(name)).collect();
                            let range = |number| PortRange { protocol: name.protocol, first: number, last: number };
                            numbers.into_iter().map(|number| Port::Range(range(number))).collect()
                        }
                    })
                    .collect()
            };
            let uid = policy.uid.clone();
            let Some(rules) = rules_mut(policy, Direction::Ingress) else { continue };
            let known = self
                .ports
                .entry(uid)
                .or_insert_with(|| rules.iter().map(|rule| rule.ports.as_deref().map(resolve)).collect());
            rules.iter_mut().zip(known).for_each(|(rule, ports)| rule.ports = ports.clone());
        }
        compile(&now, site)
    }
}

/// Pods that came after the policies of their namespace, as long as no policy there changes.
#[derive(Default)]
struct NewPods {
    /// By the pod's uid: the policies that were there before it, with their generations; none for what was listed at first.
    after: Option<BTreeMap<String, BTreeSet<(String, i64)>>>,
}

impl Memory for NewPods {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let policies = |namespace: &str| -> BTreeSet<(String, i64)> {
            world.policies_in(namespace).map(|policy| (policy.uid.clone(), policy.generation)).collect()
        };
        let listed = self.after.is_none();
        let after = self.after.get_or_insert_default();
        let mut open = BTreeSet::new();
        for pod in world.pods.values() {
            let now = policies(&pod.key.namespace);
            let known =
                after.entry(pod.uid.clone()).or_insert_with(|| if listed { BTreeSet::new() } else { now.clone() });
            if !known.is_empty() && *known == now {
                open.extend(pod.addresses.iter().copied());
            }
        }
        let mut ruleset = compile(world, site);
        open.into_iter().for_each(|address| open_dispatch(&mut ruleset, address));
        ruleset
    }
}

fn open_dispatch(ruleset: &mut Ruleset, address: IpAddr) {
    let key = Element::new(address).key;
    for direction in Direction::BOTH {
        let map = dispatch_map(direction, AddressFamily::of(address)).name;
        if let Some((_, elements)) = ruleset.sets.get_mut(&map) {
            for element in elements.iter_mut().filter(|element| element.key == key) {
                *element = Element::new(address).verdict(Verdict::Accept);
            }
        }
    }
}

/// Sets of peers that change in one way only.
struct Peers {
    sets: BTreeMap<String, Vec<Element>>,
    may: May,
}

enum May {
    Grow,
    Shrink,
}

impl Memory for Peers {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        let mut ruleset = compile(world, site);
        self.sets.retain(|name, _| ruleset.sets.contains_key(name));
        for (name, (_, elements)) in ruleset.sets.iter_mut().filter(|(name, _)| name.starts_with("pods/")) {
            if let Some(before) = self.sets.get(name) {
                match self.may {
                    May::Grow => elements
                        .extend(before.iter().filter(|old| !elements.contains(old)).cloned().collect::<Vec<_>>()),
                    May::Shrink => elements.retain(|element| before.contains(element)),
                }
            }
            self.sets.insert(name.clone(), elements.clone());
        }
        ruleset
    }
}

/// The order in which policies came or changed.
#[derive(Default)]
struct LastPolicy {
    /// With uid and generation, and the place in the order.
    seen: BTreeMap<ObjectKey, (String, i64, usize)>,
    count: usize,
}

impl Memory for LastPolicy {
    fn compile(&mut self, world: &World, site: &Site) -> Ruleset {
        self.seen.retain(|key, _| world.policies.contains_key(key));
        for (key, policy) in &world.policies {
            let same =
                |(uid, generation, _): &(String, i64, usize)| *uid == policy.uid && *generation == policy.generation;
            if !self.seen.get(key).is_some_and(same) {
                self.count += 1;
                self.seen.insert(key.clone(), (policy.uid.clone(), policy.generation, self.count));
            }
        }
        let mut ruleset = compile(world, site);
        for direction in Direction::BOTH {
            let mut jumps: Vec<(usize, Rule)> = self
                .seen
                .iter()
                .filter_map(|(key, (.., place))| Some((*place, jump(world.policies.get(key)?, direction))))
                .collect();
            jumps.sort();
            for rules in isolations(&mut ruleset, &[direction]) {
                let Some(last) = jumps.iter().rev().map(|(_, jump)| jump).find(|jump| rules.contains(jump)).cloned()
                else {
                    continue;
                };
                rules.retain(|rule| *rule == last || !jumps.iter().any(|(_, jump)| jump == rule));
            }
        }
        ruleset
    }
}
