//! The state behind the store's lock: every reading and every change of it is a transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use ipnet::IpNet;
use serde_json::Value;
use tokio::sync::watch;

use crate::api::object::Object;
use crate::api::resources::Kind;
use crate::api::status::Status;
use crate::api::watch::{Change, Filter, History};

/// Everything behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) tables: Vec<Table>,
    /// What Services' addresses are taken from, the primary family first.
    pub(crate) service_networks: Vec<IpNet>,
}

/// The objects of one kind, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) objects: BTreeMap<(String, String), Arc<Object>>,
    pub(crate) history: History,
}

/// The locked state; watchers are woken when it is dropped.
pub(crate) struct Transaction<'a> {
    pub(crate) state: MutexGuard<'a, State>,
    changed: &'a [watch::Sender<u64>],
    /// A bit for each kind that was written.
    touched: u64,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(state: MutexGuard<'a, State>, changed: &'a [watch::Sender<u64>]) -> Self {
        Self { state, changed, touched: 0 }
    }

    pub(crate) fn table(&self, kind: &'static Kind) -> &Table {
        &self.state.tables[kind.index]
    }

    pub(crate) fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let key = (namespace.to_owned(), name.to_owned());
        self.table(kind).objects.get(&key).cloned().ok_or_else(|| Status::not_found(kind, name))
    }

    pub(crate) fn select(&self, kind: &'static Kind, filter: &Filter) -> Vec<Arc<Object>> {
        let objects = &self.table(kind).objects;
        let wanted = |object: &&Arc<Object>| filter.matches(object);
        match &filter.namespace {
            None => objects.values().filter(wanted).cloned().collect(),
            Some(namespace) => objects
                .range((namespace.clone(), String::new())..)
                .take_while(|((home, _), _)| home == namespace)
                .map(|(_, object)| object)
                .filter(wanted)
                .cloned()
                .collect(),
        }
    }

    /// As [`Transaction::select`], at an earlier version: the present with every change since undone.
    pub(crate) fn select_at(
        &self,
        kind: &'static Kind,
        filter: &Filter,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let mut then: BTreeMap<(&str, &str), Option<&Arc<Object>>> = BTreeMap::new();
        for change in self.table(kind).history.after(version)? {
            then.entry((change.after.namespace(), change.after.name())).or_insert(change.before.as_ref());
        }
        let everything = Filter { namespace: filter.namespace.clone(), ..Filter::default() };
        let mut objects = self.select(kind, &everything);
        objects.retain(|object| !then.contains_key(&(object.namespace(), object.name())));
        objects.extend(then.values().copied().flatten().cloned());
        objects.retain(|object| filter.matches(object));
        objects.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        Ok(objects)
    }

    pub(crate) fn put(&mut self, kind: &'static Kind, before: Option<Arc<Object>>, value: Value) -> Arc<Object> {
        self.state.version += 1;
        let version = self.state.version;
        let after = Arc::new(Object::new(value, version));
        let key = (after.namespace().to_owned(), after.name().to_owned());
        let table = &mut self.state.tables[kind.index];
        table.objects.insert(key, Arc::clone(&after));
        table.history.push(Change { resource_version: version, before, after: Arc::clone(&after), deleted: false });
        self.touched |= 1 << kind.index;
        after
    }

    pub(crate) fn remove(&mut self, kind: &'static Kind, object: &Arc<Object>) -> Arc<Object> {
        self.state.version += 1;
        let version = self.state.version;
        let last = Arc::new(Object::new(object.value().clone(), version));
        let table = &mut self.state.tables[kind.index];
        let before = table.objects.remove(&(object.namespace().to_owned(), object.name().to_owned()));
        table.history.push(Change { resource_version: version, before, after: Arc::clone(&last), deleted: true });
        self.touched |= 1 << kind.index;
        last
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        for (index, sender) in self.changed.iter().enumerate() {
            if self.touched & (1 << index) != 0 {
                sender.send_replace(self.state.version);
            }
        }
    }
}
