//! The objects, in memory: ordered by namespace and name, one resourceVersion for all, every change remembered for
//! watchers. The handle is cheap to clone; the kubelet and the controllers use it in the same process.

mod transaction;
mod writing;

use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use tokio::sync::watch;

use super::object::Object;
use super::resources::{KINDS, Kind};
use super::status::Status;
use super::watch::{Change, Filter, Watch};
use crate::net::addresses::Family;
use transaction::Table;

pub use super::deletion::{DeleteOptions, Deletion};
pub(crate) use transaction::{State, Transaction};
pub use writing::Part;
pub(crate) use writing::Request;

/// A handle to the cluster's state.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Vec<watch::Sender<u64>>,
}

/// A list at one version.
#[derive(Debug, Clone)]
pub struct List {
    /// The version: a watch from here misses nothing.
    pub resource_version: u64,
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Object>>,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With `Added` for all that is there now.
    Now,
    /// After this version.
    Version(u64),
    /// With `Added` for all that was there at this version, and then all that has happened since.
    StateAt(u64),
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store; it holds no namespace yet.
    pub fn new() -> Self {
        let service_networks = vec![Family::V4.service_cidr()];
        let tables = KINDS.iter().map(|_| Table::default()).collect();
        let changed = KINDS.iter().map(|_| watch::channel(0).0).collect();
        Self(Arc::new(Shared { state: Mutex::new(State { version: 1, tables, service_networks }), changed }))
    }

    /// Sets what Services' addresses are taken from: one network per family, the primary one first. IPv4 otherwise.
    pub(crate) fn set_service_networks(&self, networks: Vec<IpNet>) {
        self.lock().state.service_networks = networks;
    }

    pub(crate) fn lock(&self) -> Transaction<'_> {
        // A panic while the lock was held leaves maps that are whole: every write is one insert or one remove.
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        Transaction::new(state, &self.0.changed)
    }

    /// One object. `namespace` is empty for kinds of the cluster.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        self.lock().get(kind, namespace, name)
    }

    /// All objects that match.
    pub fn list(&self, kind: &'static Kind, filter: &Filter) -> List {
        let state = self.lock();
        List { resource_version: state.state.version, items: state.select(kind, filter) }
    }

    /// All objects that matched at an earlier version.
    ///
    /// # Errors
    /// 410 if that is no longer known, 504 if it lies in the future.
    pub(crate) fn list_at(&self, kind: &'static Kind, filter: &Filter, version: u64) -> Result<List, Status> {
        let state = self.lock();
        if version > state.state.version {
            return Err(Status::future_version(version, state.state.version));
        }
        Ok(List { resource_version: version, items: state.select_at(kind, filter, version)? })
    }

    /// Watches the objects that match.
    ///
    /// # Errors
    /// 410 if the version is no longer remembered, 504 if it lies in the future.
    pub fn watch(&self, kind: &'static Kind, filter: Filter, from: From) -> Result<Watch, Status> {
        let changed = self.0.changed[kind.index].subscribe();
        let state = self.lock();
        let (initial, seen) = match from {
            From::Now => (state.select(kind, &filter), state.state.version),
            From::Version(version) if version > state.state.version => {
                return Err(Status::future_version(version, state.state.version));
            }
            From::Version(version) => {
                state.table(kind).history.after(version).map(drop)?;
                (Vec::new(), version)
            }
            From::StateAt(version) => (state.select_at(kind, &filter, version)?, version),
        };
        drop(state);
        Ok(Watch::new(self.clone(), kind, filter, initial, seen, changed))
    }

    /// The present version of the whole store.
    pub fn version(&self) -> u64 {
        self.lock().state.version
    }

    /// The changes of a kind after a version, `most` of them, and the version that a reader has seen with them.
    pub(crate) fn changes_after(
        &self,
        kind: &'static Kind,
        seen: u64,
        most: usize,
    ) -> Result<(Vec<Arc<Change>>, u64), Status> {
        let state = self.lock();
        let changes: Vec<Arc<Change>> = state.table(kind).history.after(seen)?.take(most).cloned().collect();
        let last = changes.last().filter(|_| changes.len() == most).map(|change| change.resource_version);
        Ok((changes, last.unwrap_or(state.state.version)))
    }
}
