//! The same as [`compile`](super::compile), kept up to date change by change.
//!
//! What a change costs depends on what it touches: the pods of one namespace, the sets that this node's policies need,
//! the pods of this node; never on all pods of the cluster, except where a policy needs a set that nobody had before.

mod addresses;
mod chains;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netpol_nft::{Element, Ruleset, Value};

use super::Site;
use super::families::AddressFamily;
use super::pods::{self, Isolation};
use super::sets::SetKey;
use super::skeleton::{dispatch_map, skeleton, uplink, uplinks_set};
use crate::diff::Delta;
use crate::uplinks::Uplinks;
use crate::world::{Before, Change, Direction, ObjectKey, Pod, World};
use addresses::Addresses;
use chains::Chains;
use sets::Sets;

/// A world, and what of it concerns one node, ready to be written down as a ruleset.
#[derive(Debug)]
pub struct Incremental {
    world: World,
    site: Site,
    addresses: Addresses,
    local: BTreeMap<IpAddr, Local>,
    chains: Chains,
    sets: Sets,
}

/// A pod's address on this node.
#[derive(Debug)]
struct Local {
    pod: ObjectKey,
    /// What the maps note of it.
    note: String,
    isolation: [Option<Isolation>; 2],
}

/// What changes came to.
#[derive(Debug, Default)]
pub struct Update {
    /// What is different in the ruleset.
    pub delta: Delta,
    /// Addresses whose pod is gone, whoever has them now: what the kernel remembers of their connections is not
    /// their next owner's (P16).
    pub departed: BTreeSet<IpAddr>,
}

/// What has to be looked at again.
#[derive(Debug, Default)]
struct Touched {
    /// Addresses whose owner is another or looks different, with the namespaces whose sets may hold them.
    addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    /// This node's addresses whose isolation may be different.
    isolated: BTreeSet<IpAddr>,
    policies: BTreeSet<ObjectKey>,
    namespaces: Vec<(String, Option<crate::world::Namespace>)>,
}

impl Incremental {
    /// Everything that a world holds, on a site.
    pub fn new(world: World, site: Site) -> Self {
        let mut compiled = Self {
            addresses: Addresses::default(),
            local: BTreeMap::new(),
            chains: Chains::new(site.caches()),
            sets: Sets::default(),
            world,
            site,
        };
        let pods: Vec<Before> = compiled.world.pods.keys().map(|key| Before::Pod(key.clone(), None)).collect();
        compiled.settle(pods);
        compiled
    }

    /// What is known of the cluster.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The node.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The pods of this node that have an address and are enforced.
    pub fn local_pods(&self) -> impl Iterator<Item = &Pod> {
        let keys: BTreeSet<&ObjectKey> = self.local.values().map(|local| &local.pod).collect();
        keys.into_iter().filter_map(|key| self.world.pods.get(key))
    }

    /// The addresses in a ruleset of before whose pods are gone, or have others' addresses by now: of this node's pods by what the
    /// maps note of them, of others' only where nobody has the address any more.
    pub fn left_behind(&self, held: &Ruleset) -> BTreeSet<IpAddr> {
        let mut left = BTreeSet::new();
        let dispatch = |name: &str| {
            let mut maps = Direction::BOTH
                .into_iter()
                .flat_map(|of| AddressFamily::BOTH.map(|family| dispatch_map(of, family).name));
            maps.any(|map| map == name)
        };
        for (name, (_, elements)) in &held.sets {
            for element in elements.iter().filter(|_| dispatch(name) || SetKey::is_of_pods(name)) {
                let address = match element.key.0[..] {
                    [Value::Ipv4(address)] => IpAddr::from(address),
                    [Value::Ipv6(address)] => IpAddr::from(address),
                    _ => continue,
                };
                let now = self.addresses.owner(address, &self.world).map(pods::note);
                if now.is_none() || dispatch(name) && now != element.comment {
                    left.insert(address);
                }
            }
        }
        left
    }

    /// Takes changes in, together.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Update {
        let before: Vec<Before> = changes.into_iter().flat_map(|change| self.world.apply(change)).collect();
        self.settle(before)
    }

    /// Takes in which interfaces lead out of the node.
    pub fn set_uplinks(&mut self, uplinks: Uplinks) -> Delta {
        let mut delta = Delta::default();
        if uplinks != self.site.uplinks {
            let changed = delta.elements(&uplinks_set());
            changed.deleted = self.site.uplinks.difference(&uplinks).map(|name| uplink(name)).collect();
            changed.added = uplinks.difference(&self.site.uplinks).map(|name| uplink(name)).collect();
            self.site.uplinks = uplinks;
        }
        delta
    }

    /// How many elements of dispatch maps and peer sets are of pods.
    pub fn members(&self) -> usize {
        self.local.len() * Direction::BOTH.len() + self.sets.members()
    }

    /// The whole ruleset: what [`compile`](super::compile) makes of the world and the site.
    pub fn ruleset(&self) -> Ruleset {
        let mut ruleset = skeleton(&self.site);
        for (address, local) in &self.local {
            for (map, element) in local.elements(*address) {
                if let Some((_, elements)) = ruleset.sets.get_mut(&map.name) {
                    elements.push(element);
                }
            }
        }
        self.chains.write(&mut ruleset);
        self.sets.write(&mut ruleset);
        ruleset
    }

    fn settle(&mut self, before: Vec<Before>) -> Update {
        let mut update = Update::default();
        let touched = self.touched(before);
        for (address, namespaces) in &touched.addresses {
            if self.addresses.settle(*address, &self.world) {
                update.departed.insert(*address);
            }
            self.sets.refresh(
                *address,
                namespaces,
                self.addresses.owner(*address, &self.world),
                &self.world,
                &mut update.delta,
            );
        }
        for (name, labels) in &touched.namespaces {
            let pods = self.world.pods_in(name);
            let addresses: BTreeSet<IpAddr> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
            let owners: Vec<_> =
                addresses.into_iter().map(|address| (address, self.addresses.owner(address, &self.world))).collect();
            self.sets.relabel(name, labels.as_ref(), &owners, &self.world, &mut update.delta);
        }
        for policy in &touched.policies {
            self.chains.refresh(policy, &self.world, &mut self.sets, &mut update.delta);
        }
        for address in touched.addresses.keys().chain(&touched.isolated) {
            self.dispatch(*address, &mut update.delta);
        }
        self.chains.sweep(&mut self.sets, &mut update.delta);
        self.sets.settle(&self.addresses, &self.world, &mut update.delta);
        update
    }

    fn touched(&mut self, before: Vec<Before>) -> Touched {
        let mut touched = Touched::default();
        for before in before {
            match before {
                Before::Namespace(name, labels) => touched.namespaces.push((name, labels)),
                Before::Pod(key, before) => {
                    let after = self.world.pods.get(&key);
                    for address in self.addresses.claim(&key, before.as_ref(), after) {
                        let namespaces = touched.addresses.entry(address).or_default();
                        namespaces.insert(key.namespace.clone());
                        namespaces.extend(self.addresses.claimants(address).map(|other| other.namespace.clone()));
                    }
                }
                Before::Policy(key, before) => {
                    let after = self.world.policies.get(&key);
                    for (address, local) in self.local.iter().filter(|(_, local)| local.pod.namespace == key.namespace)
                    {
                        let selects = |policy: &crate::world::Policy| {
                            self.world.pods.get(&local.pod).is_some_and(|pod| policy.subject.matches(&pod.labels))
                        };
                        if before.as_ref().is_some_and(selects) || after.is_some_and(selects) {
                            touched.isolated.insert(*address);
                        }
                    }
                    touched.policies.insert(key);
                }
            }
        }
        touched
    }

    /// Brings an address's entries in the maps up to date, and with them the chains that they refer to.
    fn dispatch(&mut self, address: IpAddr, delta: &mut Delta) {
        let pod = self.addresses.owner(address, &self.world).filter(|pod| pod.node.as_ref() == Some(&self.site.node));
        let after = pod.map(|pod| Local {
            pod: pod.key.clone(),
            note: pods::note(pod),
            isolation: Direction::BOTH.map(|direction| Isolation::of(pod, direction, &self.world)),
        });
        for isolation in after.iter().flat_map(|local| local.isolation.iter().flatten()) {
            self.chains.acquire(isolation, &self.world, &mut self.sets, delta);
        }
        let elements = |local: &Local| local.elements(address);
        let before = self.local.remove(&address);
        for isolation in before.iter().flat_map(|local| local.isolation.iter().flatten()) {
            self.chains.release(isolation);
        }
        let (old, new) = (before.as_ref().map(elements), after.as_ref().map(elements));
        for index in 0..Direction::BOTH.len() {
            let pair = (old.as_ref().map(|all| &all[index]), new.as_ref().map(|all| &all[index]));
            if let (Some((map, _)), _) | (_, Some((map, _))) = pair
                && pair.0 != pair.1
            {
                let changed = delta.elements(map);
                changed.deleted.extend(pair.0.map(|(_, element)| element.clone()));
                changed.added.extend(pair.1.map(|(_, element)| element.clone()));
            }
        }
        self.local.extend(after.map(|local| (address, local)));
    }
}

impl Local {
    /// The elements that dispatch the address, with their maps.
    fn elements(&self, address: IpAddr) -> [(netpol_nft::Set, Element); 2] {
        [0, 1].map(|index| {
            let map = dispatch_map(Direction::BOTH[index], AddressFamily::of(address));
            (map, pods::dispatch(address, &self.note, self.isolation[index].as_ref()))
        })
    }
}
