//! Writing to the store: create, replace, change in place, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{DeleteOptions, Deletion, Store};
use crate::api::metadata;
use crate::api::object::Object;
use crate::api::patch::{self, Manager};
use crate::api::resources::{Kind, NAMESPACE};
use crate::api::status::Status;
use crate::api::strategy;

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

impl Store {
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
