//! What the enforcer knows of the cluster: ordered and deterministic, reduced to what enforcement needs.

pub mod pods;
pub mod policies;
mod raw;
mod rules;
pub mod selector;

use std::collections::{BTreeMap, BTreeSet};

pub use pods::{Namespace, ObjectKey, Pod};
pub use policies::{Direction, IpBlock, NamedPort, Peer, Policy, Port, PortRange, Protocol, Rule};
pub use raw::RawPolicy;
pub use selector::{Labels, Selector, SelectorError};

/// Namespaces, pods and policies as they were last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Pods by namespace and name.
    pub pods: BTreeMap<ObjectKey, Pod>,
    /// Policies by namespace and name.
    pub policies: BTreeMap<ObjectKey, Policy>,
}

/// Something that the API server told.
#[derive(Clone, Debug)]
pub enum Change {
    /// Of namespaces.
    Namespaces(Delta<Namespace>),
    /// Of pods.
    Pods(Delta<Pod>),
    /// Of policies.
    Policies(Delta<Policy>),
}

/// What happened to the objects of one kind.
#[derive(Clone, Debug)]
pub enum Delta<T> {
    /// One was added or modified.
    Set(T),
    /// One was deleted; it counts only if the object that is known under that name is the same one (P16).
    Gone(T),
    /// A complete list: what is not in it is gone. A list that is not complete is never handed on (P28).
    All(Vec<T>),
}

impl World {
    /// The pods of a namespace.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        of_namespace(&self.pods, namespace)
    }

    /// The policies of a namespace, which are all that can select its pods (N11).
    pub fn policies_in(&self, namespace: &str) -> impl Iterator<Item = &Policy> {
        of_namespace(&self.policies, namespace)
    }

    /// Takes a change in. Returns what is different now, each with what was known of it before; nothing if the change told
    /// nothing that enforcement depends on.
    pub fn apply(&mut self, change: Change) -> Vec<Before> {
        match change {
            Change::Namespaces(delta) => take(&mut self.namespaces, delta, Before::Namespace),
            Change::Pods(delta) => take(&mut self.pods, delta, Before::Pod),
            Change::Policies(delta) => take(&mut self.policies, delta, Before::Policy),
        }
    }
}

/// An object that was added, changed or deleted, as it was known before; none if it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// The namespace of this name.
    Namespace(String, Option<Namespace>),
    /// The pod of this name.
    Pod(ObjectKey, Option<Pod>),
    /// The policy of this name.
    Policy(ObjectKey, Option<Policy>),
}

fn of_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectKey, T>,
    namespace: &str,
) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let namespace = namespace.to_owned();
    let first = ObjectKey::new(namespace.clone(), "");
    objects.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
}

/// An object that the world keeps by a key.
trait Kept: Eq {
    type Key: Ord + Clone;
    fn key(&self) -> Self::Key;
    fn same_object(&self, other: &Self) -> bool;
}

impl Kept for Namespace {
    type Key = String;
    fn key(&self) -> String {
        self.name.clone()
    }
    fn same_object(&self, _other: &Self) -> bool {
        true
    }
}

impl Kept for Pod {
    type Key = ObjectKey;
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn same_object(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

impl Kept for Policy {
    type Key = ObjectKey;
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn same_object(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

fn take<T: Kept>(
    known: &mut BTreeMap<T::Key, T>,
    delta: Delta<T>,
    before: fn(T::Key, Option<T>) -> Before,
) -> Vec<Before> {
    let mut changed = Vec::new();
    let mut set = |known: &mut BTreeMap<T::Key, T>, object: T| {
        let key = object.key();
        if known.get(&key) != Some(&object) {
            changed.push(before(key.clone(), known.insert(key, object)));
        }
    };
    match delta {
        Delta::Set(object) => set(known, object),
        Delta::Gone(object) => {
            let key = object.key();
            if known.get(&key).is_some_and(|kept| kept.same_object(&object)) {
                let gone = known.remove(&key);
                changed.push(before(key, gone));
            }
        }
        Delta::All(objects) => {
            let listed: BTreeSet<T::Key> = objects.iter().map(Kept::key).collect();
            objects.into_iter().for_each(|object| set(known, object));
            let gone: Vec<T::Key> = known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
            for key in gone {
                let object = known.remove(&key);
                changed.push(before(key, object));
            }
        }
    }
    changed
}
