//! The objects, in memory: ordered by namespace and name, one resourceVersion for all, every change remembered for
//! watchers. The handle is cheap to clone; the kubelet and the controllers use it in the same process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::metadata;
use super::object::Object;
use super::patch::{self, Manager};
use super::resources::{KINDS, Kind, NAMESPACE};
use super::status::Status;
use super::strategy;
use super::watch::{Change, Filter, History, Watch};
use crate::net::addresses::Family;

pub use super::deletion::{DeleteOptions, Deletion};

/// A handle to the cluster's state.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Vec<watch::Sender<u64>>,
}

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

/// A list at one version.
#[derive(Debug, Clone)]
pub struct List {
    /// The version: a watch from here misses nothing.
    pub resource_version: u64,
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Object>>,
}

/// What of an object a writer means to write; the rest is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but `status`, by the rules for clients (`PUT`/`PATCH` on the object).
    Spec,
    /// `status` only (`PUT`/`PATCH` on `…/status`).
    Status,
    /// Everything, also what clients may not change, such as a pod's `spec.nodeName`: for the lab's own controllers.
    Everything,
}

/// How a write is meant, beside what it writes. The default is the lab's own writers'.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Everything is checked and nothing stored.
    pub(crate) dry_run: bool,
    /// Who is to manage the fields that change.
    pub(crate) manager: Option<Manager>,
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
        Transaction { state, shared: &self.0, touched: 0 }
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

    /// Stores a new object; `metadata.name` may be left to `metadata.generateName`.
    ///
    /// # Errors
    /// 400 or 422 if it is malformed, 404 if its namespace does not exist, 403 if that is being deleted, 409 if the
    /// name is taken.
    pub fn create(&self, kind: &'static Kind, namespace: &str, object: Value) -> Result<Arc<Object>, Status> {
        self.create_or_try(kind, namespace, object, &Request::default())
    }

    /// As [`Store::create`]; as a request means it.
    pub(crate) fn create_or_try(
        &self,
        kind: &'static Kind,
        namespace: &str,
        mut object: Value,
        request: &Request,
    ) -> Result<Arc<Object>, Status> {
        metadata::fit_to_path(kind, namespace, &mut object)?;
        metadata::stamp_new(&mut object, strategy::counts_generations(kind))?;
        let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        let generate = !prefix.is_empty() && object["metadata"]["name"].as_str().unwrap_or_default().is_empty();
        let mut state = self.lock();
        let name = loop {
            if generate {
                object["metadata"]["name"] = format!("{prefix}{}", metadata::random_suffix()?).into();
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if !generate || state.get(kind, namespace, &name).is_err() {
                break name;
            }
        };
        strategy::prepare(kind, &mut object);
        if let Some(manager) = &request.manager {
            patch::record(kind, manager, None, &mut object);
        }
        state.complete(kind, None, &mut object)?;
        strategy::check(kind, &object)?;
        if kind.namespaced {
            let home = state.get(NAMESPACE, "", namespace)?;
            if home.is_terminating() {
                let detail =
                    format!("unable to create new content in namespace {namespace} because it is being terminated");
                return Err(Status::forbidden(kind, &name, &detail));
            }
        }
        if state.get(kind, namespace, &name).is_ok() {
            return Err(Status::already_exists(kind, &name));
        }
        if request.dry_run {
            return Ok(Arc::new(Object::new(object, state.state.version)));
        }
        Ok(state.put(kind, None, object))
    }

    /// Replaces an object, or a part of it. `object` may carry `metadata.resourceVersion` to be sure of what it replaces.
    ///
    /// # Errors
    /// 404, 409 if the resourceVersion or uid is not the present one, 422.
    pub fn update(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        part: Part,
        object: Value,
    ) -> Result<Arc<Object>, Status> {
        let mut object = Some(object);
        self.modify(kind, namespace, name, part, |value| {
            *value = object.take().unwrap_or_default();
            Ok(())
        })
    }

    /// Changes an object in place, as one step: no other writer comes between. An edit that changes nothing makes no
    /// version and no event.
    ///
    /// # Errors
    /// 404, 409, 422, and whatever `edit` refuses with.
    pub fn modify(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        part: Part,
        edit: impl FnOnce(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Object>, Status> {
        self.modify_or_try(kind, namespace, name, part, &Request::default(), edit)
    }

    /// As [`Store::modify`]; as a request means it.
    pub(crate) fn modify_or_try(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        part: Part,
        request: &Request,
        edit: impl FnOnce(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Object>, Status> {
        let mut state = self.lock();
        let present = state.get(kind, namespace, name)?;
        let mut next = present.value().clone();
        edit(&mut next)?;
        metadata::fit_to_path(kind, namespace, &mut next)?;
        metadata::keep_owned(kind, present.value(), &mut next)?;
        keep_other_part(kind, part, present.value(), &mut next);
        strategy::prepare(kind, &mut next);
        if let Some(manager) = &request.manager {
            patch::record(kind, manager, Some(present.value()), &mut next);
        }
        state.complete(kind, Some(&present), &mut next)?;
        match part {
            Part::Spec => strategy::check_update(kind, present.value(), &next)?,
            Part::Status | Part::Everything => strategy::check(kind, &next)?,
        }
        if next == *present.value() {
            return Ok(present);
        }
        if strategy::counts_generations(kind) && strategy::is_new_generation(present.value(), &next) {
            next["metadata"]["generation"] = json!(next["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        if request.dry_run {
            return Ok(Arc::new(Object::new(next, state.state.version)));
        }
        let object = state.put(kind, Some(present), next);
        state.remove_if_finished(kind, &object);
        Ok(object)
    }

    /// Deletes an object, or begins to: pods get their grace period, namespaces are emptied first, finalizers are
    /// waited for.
    ///
    /// # Errors
    /// 404, 409 if a precondition fails.
    pub fn delete(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, Status> {
        self.lock().delete(kind, namespace, name, options)
    }
}

fn keep_other_part(kind: &'static Kind, part: Part, present: &Value, next: &mut Value) {
    match part {
        Part::Everything => {}
        Part::Spec if !kind.has_status => {}
        Part::Spec => match present.get("status") {
            Some(status) => next["status"] = status.clone(),
            None => {
                next.as_object_mut().and_then(|map| map.shift_remove("status"));
            }
        },
        Part::Status => {
            let (status, managers) = (next["status"].take(), next["metadata"]["managedFields"].take());
            *next = present.clone();
            next["status"] = status;
            if !managers.is_null() {
                next["metadata"]["managedFields"] = managers;
            }
        }
    }
}

/// The locked state; watchers are woken when it is dropped.
pub(crate) struct Transaction<'a> {
    pub(crate) state: MutexGuard<'a, State>,
    shared: &'a Shared,
    touched: u64,
}

impl Transaction<'_> {
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
    fn select_at(&self, kind: &'static Kind, filter: &Filter, version: u64) -> Result<Vec<Arc<Object>>, Status> {
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
        for (index, sender) in self.shared.changed.iter().enumerate() {
            if self.touched & (1 << index) != 0 {
                sender.send_replace(self.state.version);
            }
        }
    }
}
