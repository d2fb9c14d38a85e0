//! `create`, `replace`, `patch`, `delete` and `deletecollection` over HTTP.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::decode::{self, Strictness};
use super::media;
use super::parameters::Parameters;
use super::patch::Patch;
use super::read;
use super::resources::NAMESPACE;
use super::routes::{Target, json, json_with, warn};
use super::status::Status;
use super::store::{DeleteOptions, Part, Store};

fn part_of(target: &Target<'_>) -> Result<Part, Status> {
    match target.subresource {
        None => Ok(Part::Spec),
        Some(_) if target.kind.has_status => Ok(Part::Status),
        Some(other) => Err(Status::no_such_path(format!("{} have no subresource {other}", target.kind.resource()))),
    }
}

/// POST on a collection.
pub(crate) fn create(
    store: &Store,
    target: &Target<'_>,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Status> {
    let form = media::accepted(headers)?;
    let strictness = Strictness::of(parameters)?;
    let (object, unknown) = decode::typed(target.kind, media::read(headers, body)?, strictness)?;
    let created = store.create_or_try(target.kind, target.home(), object, parameters.dry_run()?)?;
    let mut response = read::answer(StatusCode::CREATED, target.kind, &created, parameters, form)?;
    unknown.iter().for_each(|text| warn(response.headers_mut(), text));
    Ok(response)
}

/// PUT on an object or its status.
pub(crate) fn replace(
    store: &Store,
    target: &Target<'_>,
    name: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Status> {
    let form = media::accepted(headers)?;
    let strictness = Strictness::of(parameters)?;
    let (object, unknown) = decode::typed(target.kind, media::read(headers, body)?, strictness)?;
    let (part, dry_run) = (part_of(target)?, parameters.dry_run()?);
    let stored = store.modify_or_try(target.kind, target.home(), name, part, dry_run, |value| {
        *value = object;
        Ok(())
    })?;
    let mut response = read::answer(StatusCode::OK, target.kind, &stored, parameters, form)?;
    unknown.iter().for_each(|text| warn(response.headers_mut(), text));
    Ok(response)
}

/// PATCH on an object or its status. An apply patch creates what does not exist.
pub(crate) fn patch(
    store: &Store,
    target: &Target<'_>,
    name: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Status> {
    let form = media::accepted(headers)?;
    let strictness = Strictness::of(parameters)?;
    let (part, dry_run) = (part_of(target)?, parameters.dry_run()?);
    let patch = Patch::read(target.kind, headers, body, parameters)?;
    let mut unknown = Vec::new();
    let edited = store.modify_or_try(target.kind, target.home(), name, part, dry_run, |value| {
        patch.edit(target.kind, value)?;
        let (typed, fields) = decode::typed(target.kind, value.take(), strictness)?;
        (*value, unknown) = (typed, fields);
        Ok(())
    });
    let (code, object) = match (edited, &patch) {
        (Err(status), Patch::Apply(apply)) if status.code == 404 && part == Part::Spec => {
            let mut object = json!({ "metadata": { "name": name } });
            apply.edit(target.kind, &mut object)?;
            let (typed, fields) = decode::typed(target.kind, object, strictness)?;
            unknown = fields;
            (StatusCode::CREATED, store.create_or_try(target.kind, target.home(), typed, dry_run)?)
        }
        (edited, _) => (StatusCode::OK, edited?),
    };
    let mut response = read::answer(code, target.kind, &object, parameters, form)?;
    unknown.iter().for_each(|text| warn(response.headers_mut(), text));
    Ok(response)
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
    let deletion = store.delete(target.kind, target.home(), name, &options)?;
    if !deletion.gone {
        return Ok(json_with(StatusCode::OK, deletion.object.json()));
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
    let list = store.list(target.kind, &parameters.filter(target.kind, target.namespace)?);
    let mut deleted = Vec::new();
    for object in &list.items {
        match store.delete(target.kind, target.home(), object.name(), &options) {
            Ok(deletion) => deleted.push(deletion.object.json()),
            // Somebody else was faster; that is what was asked for.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let version = list.resource_version.to_string();
    Ok(json_with(StatusCode::OK, read::list_bytes(target.kind, &version, deleted.into_iter())))
}

/// The options stand in the body or, some of them, in the query string. What happens to dependents is not an option
/// here: the lab collects no garbage by ownerReferences.
fn delete_options(parameters: &Parameters, headers: &HeaderMap, body: &[u8]) -> Result<DeleteOptions, Status> {
    let given = if body.is_empty() { Value::Null } else { media::read(headers, body)? };
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
