//! Sets that are in use, with what they hold of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;

use netpol_nft::{Element, Ruleset, Set};

use super::super::families::AddressFamily;
use super::super::sets::{Held, Scope, SetKey};
use super::addresses::Addresses;
use crate::diff::Delta;
use crate::world::{Namespace, Pod, Selector, World};

/// Sets by what they hold. Those of one namespace stand together, then those of many.
#[derive(Debug, Default)]
pub(super) struct Sets {
    in_use: BTreeMap<SetKey, InUse>,
    /// Those that have to be filled, or may have lost their last user.
    unsettled: BTreeSet<SetKey>,
}

#[derive(Debug)]
struct InUse {
    users: usize,
    kernel: Vec<(Option<AddressFamily>, Set)>,
    members: BTreeMap<IpAddr, Held>,
    filled: bool,
}

impl Sets {
    /// How many entries of pods' addresses there are in all of them.
    pub(super) fn members(&self) -> usize {
        self.in_use.values().map(|known| known.members.len()).sum()
    }

    /// One user more.
    pub(super) fn acquire(&mut self, key: &SetKey) {
        if let Some(known) = self.in_use.get_mut(key) {
            known.users += 1;
            return;
        }
        let kernel = key.families().into_iter().map(|family| (family, key.set(family))).collect();
        self.in_use.insert(key.clone(), InUse { users: 1, kernel, members: BTreeMap::new(), filled: false });
        self.unsettled.insert(key.clone());
    }

    /// One user less.
    pub(super) fn release(&mut self, key: &SetKey) {
        if let Some(known) = self.in_use.get_mut(key) {
            known.users -= 1;
            if known.users == 0 {
                self.unsettled.insert(key.clone());
            }
        }
    }

    /// Takes in who has an address. Only sets of these namespaces, and those of many, can be concerned.
    pub(super) fn refresh(
        &mut self,
        address: IpAddr,
        namespaces: &BTreeSet<String>,
        owner: Option<&Pod>,
        world: &World,
        delta: &mut Delta,
    ) {
        for namespace in namespaces {
            let first = SetKey::Pods(Scope::Namespace(namespace.clone()), Selector::default());
            let same = |key: &SetKey| matches!(key, SetKey::Pods(Scope::Namespace(name), _) if name == namespace);
            for (key, known) in self.in_use.range_mut(first..).take_while(|(key, _)| same(key)) {
                known.refresh(key, address, owner, world, delta);
            }
        }
        for (key, known) in self.of_many() {
            known.refresh(key, address, owner, world, delta);
        }
    }

    /// Takes in that a namespace has other labels than `before`.
    pub(super) fn relabel(
        &mut self,
        namespace: &str,
        before: Option<&Namespace>,
        owners: &[(IpAddr, Option<&Pod>)],
        world: &World,
        delta: &mut Delta,
    ) {
        for (key, known) in self.of_many() {
            let SetKey::Pods(Scope::Matching(selector), _) = key else { continue };
            let matched = before.is_some_and(|before| selector.matches(&before.labels));
            if matched != Scope::Matching(selector.clone()).contains(namespace, world) {
                for (address, owner) in owners {
                    known.refresh(key, *address, *owner, world, delta);
                }
            }
        }
    }

    /// The sets of pods of many namespaces, and those of named ports.
    fn of_many(&mut self) -> impl Iterator<Item = (&SetKey, &mut InUse)> {
        let first = SetKey::Pods(Scope::Matching(Selector::default()), Selector::default());
        let of_pods = |key: &SetKey| matches!(key, SetKey::Pods(..) | SetKey::NamedPort(_));
        self.in_use.range_mut((Bound::Included(first), Bound::Unbounded)).take_while(move |(key, _)| of_pods(key))
    }

    /// Fills the sets that are new, and deletes those that nobody uses any more.
    pub(super) fn settle(&mut self, addresses: &Addresses, world: &World, delta: &mut Delta) {
        for key in std::mem::take(&mut self.unsettled) {
            let Some(known) = self.in_use.get_mut(&key) else { continue };
            match (known.users, known.filled) {
                (0, filled) => {
                    if filled {
                        known.kernel.iter().for_each(|(_, set)| delta.delete_set(set.clone()));
                    }
                    self.in_use.remove(&key);
                }
                (_, false) => {
                    known.fill(&key, addresses, world);
                    for (family, set) in &known.kernel {
                        delta.add_set(set.clone(), known.elements(&key, *family));
                    }
                }
                (_, true) => {}
            }
        }
    }

    /// All of them.
    pub(super) fn write(&self, ruleset: &mut Ruleset) {
        for (key, known) in &self.in_use {
            for (family, set) in &known.kernel {
                ruleset.set(set.clone(), known.elements(key, *family));
            }
        }
    }
}

impl InUse {
    fn fill(&mut self, key: &SetKey, addresses: &Addresses, world: &World) {
        self.filled = true;
        let held = |pod: &Pod, address: IpAddr| Some((address, key.holds(pod, world)?));
        let owned =
            |pod: &Pod, address: IpAddr| addresses.owner(address, world).is_some_and(|owner| owner.key == pod.key);
        match key {
            SetKey::Block(_) | SetKey::Ports(_) => {}
            SetKey::Pods(Scope::Namespace(namespace), _) => {
                for pod in world.pods_in(namespace).filter(|pod| pod.is_selectable()) {
                    let own = pod.addresses.iter().filter(|address| owned(pod, **address));
                    self.members.extend(own.filter_map(|address| held(pod, *address)));
                }
            }
            SetKey::Pods(Scope::Matching(selector), _) => {
                let matching = world.namespaces.values().filter(|namespace| selector.matches(&namespace.labels));
                for pod in
                    matching.flat_map(|namespace| world.pods_in(&namespace.name)).filter(|pod| pod.is_selectable())
                {
                    let own = pod.addresses.iter().filter(|address| owned(pod, **address));
                    self.members.extend(own.filter_map(|address| held(pod, *address)));
                }
            }
            SetKey::NamedPort(_) => {
                self.members.extend(addresses.owners(world).filter_map(|(address, pod)| held(pod, address)));
            }
        }
    }

    fn refresh(&mut self, key: &SetKey, address: IpAddr, owner: Option<&Pod>, world: &World, delta: &mut Delta) {
        let after = owner.and_then(|pod| key.holds(pod, world));
        let before = self.members.get(&address).copied();
        // One that is to be filled meets the address then.
        if before == after || !self.filled {
            return;
        }
        match after {
            Some(held) => self.members.insert(address, held),
            None => self.members.remove(&address),
        };
        let family = Some(AddressFamily::of(address));
        for (_, set) in self.kernel.iter().filter(|(of, _)| *of == family) {
            let changed = delta.elements(set);
            changed.deleted.extend(before.map(|held| key.element(address, held)));
            changed.added.extend(after.map(|held| key.element(address, held)));
        }
    }

    fn elements(&self, key: &SetKey, family: Option<AddressFamily>) -> Vec<Element> {
        let members = self.members.iter().filter(|(address, _)| Some(AddressFamily::of(**address)) == family);
        let mut elements = key.fixed_elements();
        elements.extend(members.map(|(address, held)| key.element(*address, *held)));
        elements
    }
}
