//! What the enforcer knows of the cluster: ordered and deterministic, reduced to what enforcement needs.

pub mod pods;
pub mod policies;
mod rules;
pub mod selector;

use std::collections::BTreeMap;

pub use pods::{Namespace, ObjectKey, Pod};
pub use policies::{Direction, IpBlock, Peer, Policy, PortRange, Protocol, Rule};
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
    /// Takes a change in. Returns whether anything that enforcement depends on is different now.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Namespaces(delta) => take(&mut self.namespaces, delta),
            Change::Pods(delta) => take(&mut self.pods, delta),
            Change::Policies(delta) => take(&mut self.policies, delta),
        }
    }
}

/// An object that the world keeps by a key.
trait Kept: Eq {
    type Key: Ord;
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

fn take<T: Kept>(known: &mut BTreeMap<T::Key, T>, delta: Delta<T>) -> bool {
    match delta {
        Delta::Set(object) => {
            let key = object.key();
            if known.get(&key) == Some(&object) {
                return false;
            }
            known.insert(key, object);
            true
        }
        Delta::Gone(object) => {
            let key = object.key();
            known.get(&key).is_some_and(|kept| kept.same_object(&object)) && known.remove(&key).is_some()
        }
        Delta::All(objects) => {
            let fresh: BTreeMap<T::Key, T> = objects.into_iter().map(|object| (object.key(), object)).collect();
            let changed = *known != fresh;
            *known = fresh;
            changed
        }
    }
}
