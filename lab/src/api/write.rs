//! `create`, `replace`, `patch`, `delete` and `deletecollection` over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::decode::{self, Strictness};
use super::forms;
use super::media::{self, Form};
use super::object::Object;
use super::paging::Page;
use super::parameters::Parameters;
use super::patch::{Manager, Patch};
use super::read;
use super::resources::NAMESPACE;
use super::routes::{Target, json, json_with, warn};
use super::status::Status;
use super::store::{DeleteOptions, Part, Request, Store};

/// A request that writes one object: all that its verb has no say in.
pub(crate) struct Write<'a> {
    store: &'a Store,
    target: &'a Target<'a>,
    parameters: &'a Parameters,
    headers: &'a HeaderMap,
    body: &'a [u8],
    form: Form,
    strictness: Strictness,
    request: Request,
    warnings: Vec<String>,
}

impl<'a> Write<'a> {
    /// # Errors
    /// 400 for parameters that cannot be read, 406 if no form is served that the client accepts.
    pub(crate) fn new(
        store: &'a Store,
        target: &'a Target<'a>,
        parameters: &'a Parameters,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Result<Self, Status> {
        let (form, strictness) = (media::accepted(headers)?, Strictness::of(parameters)?);
        let subresource = target.subresource.map(str::to_owned);
        let manager = Some(Manager { name: manager(parameters, headers), subresource });
        let request = Request { dry_run: parameters.dry_run()?, manager };
        Ok(Self { store, target, parameters, headers, body, form, strictness, request, warnings: Vec::new() })
    }

    /// POST on a collection.
    pub(crate) fn create(mut self) -> Result<Response, Status> {
        let object = media::read(self.headers, self.body)?;
        let created = self.store_new(object)?;
        self.answer(StatusCode::CREATED, &created)
    }

    /// PUT on an object or its status.
    pub(crate) fn replace(mut self, name: &str) -> Result<Response, Status> {
        let object = media::read(self.headers, self.body)?;
        let object = self.decode(object)?;
        let stored = self.change(name, |_, value| {
            *value = object;
            Ok(())
        })?;
        self.answer(StatusCode::OK, &stored)
    }

    /// PATCH on an object or its status. An apply patch creates what does not exist.
    pub(crate) fn patch(mut self, name: &str) -> Result<Response, Status> {
        let kind = self.target.kind;
        let patch = Patch::read(kind, self.headers, self.body, self.parameters, self.target.subresource)?;
        if let Patch::Apply(_) = patch {
            // It has written down by itself who manages what.
            self.request.manager = None;
        }
        let edited = self.change(name, |write, value| {
            let mut served = forms::served(kind, value.take());
            patch.edit(kind, &mut served)?;
            *value = write.decode(served)?;
            Ok(())
        });
        let missing = edited.as_ref().is_err_and(|status| status.code == 404) && self.target.subresource.is_none();
        let (code, object) = match &patch {
            Patch::Apply(apply) if missing => {
                let mut object = json!({ "metadata": { "name": name } });
                apply.edit(kind, &mut object)?;
                (StatusCode::CREATED, self.store_new(object)?)
            }
            _ => (StatusCode::OK, edited?),
        };
        self.answer(code, &object)
    }

    /// The object of the body in the form in which it is stored; what is wrong without being refused is kept for the
    /// answer's headers.
    fn decode(&mut self, object: Value) -> Result<Value, Status> {
        let (object, warnings) = decode::typed(self.target.kind, object, self.strictness)?;
        self.warnings = warnings;
        Ok(forms::stored(self.target.kind, object))
    }

    fn store_new(&mut self, object: Value) -> Result<Arc<Object>, Status> {
        let object = self.decode(object)?;
        self.store.create_or_try(self.target.kind.stored(), self.target.home(), object, &self.request)
    }

    fn change(
        &mut self,
        name: &str,
        edit: impl FnOnce(&mut Self, &mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Object>, Status> {
        let target = self.target;
        let part = match target.subresource {
            None => Part::Spec,
            Some(_) if target.kind.has_status => Part::Status,
            Some(other) => {
                return Err(Status::no_such_path(format!("{} have no subresource {other}", target.kind.resource())));
            }
        };
        let (store, request) = (self.store, self.request.clone());
        store.modify_or_try(target.kind.stored(), target.home(), name, part, &request, |value| edit(self, value))
    }

    fn answer(self, code: StatusCode, object: &Arc<Object>) -> Result<Response, Status> {
        let mut response = read::answer(code, self.target.kind, object, self.parameters, self.form)?;
        self.warnings.iter().for_each(|text| warn(response.headers_mut(), text));
        Ok(response)
    }
}

/// `fieldManager`, or what the client calls itself.
fn manager(parameters: &Parameters, headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let agent = agent.split(['/', ' ']).next().filter(|agent| !agent.is_empty()).unwrap_or("unknown");
    parameters.text("fieldManager").unwrap_or(agent).to_owned()
}

/// DELETE on an object. The answer is the object while it terminates, and a success `Status` once it is gone.
pub(crate) fn delete(
    store: &Store,
    target: &Target<'_>,
    name: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Status> {
    let options = delete_options(parameters, headers, body)?;
    let deletion = store.delete(target.kind.stored(), target.home(), name, &options)?;
    if !deletion.gone {
        return Ok(json_with(StatusCode::OK, forms::json(target.kind, &deletion.object)));
    }
    let kind = target.kind;
    let details = json!({ "name": name, "group": kind.group, "kind": kind.plural, "uid": deletion.object.uid() });
    Ok(json(&json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    })))
}

/// DELETE on a collection. The answer lists what was deleted.
pub(crate) fn delete_collection(
    store: &Store,
    target: &Target<'_>,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Status> {
    if *target.kind == *NAMESPACE || (target.kind.namespaced && target.namespace.is_none()) {
        return Err(Status::method_not_allowed("deletecollection is served within a namespace, and on nodes"));
    }
    let options = delete_options(parameters, headers, body)?;
    let list = store.list(target.kind.stored(), &parameters.filter(target.kind, target.namespace)?);
    let mut deleted = Vec::new();
    for object in &list.items {
        match store.delete(target.kind.stored(), target.home(), object.name(), &options) {
            Ok(deletion) => deleted.push(forms::json(target.kind, &deletion.object)),
            // Somebody else was faster; that is what was asked for.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let page = Page::whole(list.resource_version, Vec::new());
    Ok(json_with(StatusCode::OK, read::list_body(read::list_head(target.kind, &page), deleted, Bytes::clone)))
}

/// The options stand in the body or, some of them, in the query string. What happens to dependents is not an option
/// here: the lab collects no garbage by ownerReferences.
fn delete_options(parameters: &Parameters, headers: &HeaderMap, body: &[u8]) -> Result<DeleteOptions, Status> {
    let given = if body.is_empty() { Value::Null } else { media::read(headers, body)? };
    options_of(&given, parameters)
}

/// The DeleteOptions that a body holds, completed from the query string.
pub(crate) fn options_of(given: &Value, parameters: &Parameters) -> Result<DeleteOptions, Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let preconditions = &given["preconditions"];
    let in_body = given["dryRun"].as_array().is_some_and(|list| list.iter().any(|value| value == "All"));
    Ok(DeleteOptions {
        grace_period_seconds: given["gracePeriodSeconds"].as_i64().or(parameters.number("gracePeriodSeconds")?),
        uid: text(&preconditions["uid"]),
        resource_version: text(&preconditions["resourceVersion"]),
        dry_run: parameters.dry_run()? || in_body,
    })
}
