//! The enforcer under test: it hears of changes as from a watch, and rewrites the kernel's rules by differences.

use std::collections::BTreeMap;

use netpol_enforcer::apply::{Applied, Kernel};
use netpol_enforcer::compile::{Incremental, OwnNode, Site};
use netpol_enforcer::diff;
use netpol_enforcer::world::{Change, Delta, Namespace, Pod, Policy, World as Known};

use crate::node::UPLINK;
use crate::place::NODE;
use crate::sabotage::Sabotage;
use crate::world::World;

/// The enforcer of the tested node.
pub(crate) struct Enforcer {
    kernel: Kernel,
    compiled: Incremental,
    /// What it has been told.
    told: World,
    sabotage: Option<Sabotage>,
}

impl Enforcer {
    pub(crate) fn new(sabotage: Option<Sabotage>) -> Self {
        let (kernel, compiled) = begin(Known::default());
        Self { kernel, compiled, told: World::default(), sabotage }
    }

    /// Tells it of everything that differs from what it was told before, and has it write.
    pub(crate) fn follow(&mut self, world: &World) -> Applied {
        let told = self.sabotage.map_or_else(|| world.clone(), |sabotage| sabotage.told(&self.told, world));
        let before = if world.restarted { &World::default() } else { &self.told };
        let namespaces = deltas(&before.namespaces, &told.namespaces, |it| (&it.metadata.name, &None));
        let pods = deltas(&before.pods, &told.pods, |it| (&it.metadata.namespace, &it.metadata.name));
        let policies = deltas(&before.policies, &told.policies, |it| (&it.metadata.namespace, &it.metadata.name));
        let changes = namespaces.into_iter().map(|delta| Change::Namespaces(read(delta, Namespace::read)));
        let changes = changes.chain(pods.into_iter().map(|delta| Change::Pods(read(delta, Pod::read))));
        let changes = changes.chain(policies.into_iter().map(|delta| Change::Policies(read(delta, Policy::read))));
        let delta = if world.restarted {
            let mut known = Known::default();
            changes.for_each(|change| drop(known.apply(change)));
            (self.kernel, self.compiled) = begin(known);
            diff::Delta::default()
        } else {
            self.compiled.update(changes).delta
        };
        self.told = told;
        self.kernel.follow(&self.compiled, &delta).expect("the kernel takes the rules")
    }

    /// The rules that it means to have in force, as nft text.
    pub(crate) fn rules(&self) -> String {
        self.compiled.ruleset().to_string()
    }
}

/// An enforcer as it starts, once it knows the cluster.
fn begin(known: Known) -> (Kernel, Incremental) {
    let uplinks = [UPLINK, "lo"].map(str::to_owned).into();
    let site = Site { node: NODE.to_owned(), uplinks, own_node: OwnNode::Policed, node_local_dns: Default::default() };
    (Kernel::open().expect("nftables"), Incremental::new(known, site))
}

fn read<K, T>(delta: Delta<&K>, read: fn(&K) -> T) -> Delta<T> {
    match delta {
        Delta::Set(object) => Delta::Set(read(object)),
        Delta::Gone(object) => Delta::Gone(read(object)),
        Delta::All(objects) => Delta::All(objects.into_iter().map(read).collect()),
    }
}

type Key<'a> = (&'a Option<String>, &'a Option<String>);

/// What a watch would tell between two lists: first what is gone, then what was added or modified.
fn deltas<'a, K: PartialEq>(before: &'a [K], after: &'a [K], key: fn(&K) -> Key<'_>) -> Vec<Delta<&'a K>> {
    let now: BTreeMap<Key<'_>, &K> = after.iter().map(|object| (key(object), object)).collect();
    let then: BTreeMap<Key<'_>, &K> = before.iter().map(|object| (key(object), object)).collect();
    let gone = then.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, object)| Delta::Gone(*object));
    let set = now.iter().filter(|(key, object)| then.get(*key) != Some(*object)).map(|(_, object)| Delta::Set(*object));
    gone.chain(set).collect()
}
