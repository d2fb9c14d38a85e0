//! `get` and `list` over HTTP, in the form that the client takes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::feed;
use super::forms;
use super::media::{self, Form};
use super::misbehaviour::Misbehaviour;
use super::object::Object;
use super::paging::{Page, Question};
use super::parameters::Parameters;
use super::resources::Kind;
use super::routes::{Target, json_with};
use super::status::Status;
use super::store::Store;
use super::table;

/// One object.
pub(crate) fn get(
    store: &Store,
    target: &Target<'_>,
    name: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let object = store.get(target.kind.stored(), target.home(), name)?;
    answer(StatusCode::OK, target.kind, &object, parameters, media::accepted(headers)?)
}

/// One object in the form asked for.
pub(crate) fn answer(
    code: StatusCode,
    kind: &'static Kind,
    object: &Arc<Object>,
    parameters: &Parameters,
    form: Form,
) -> Result<Response, Status> {
    let bytes = match form {
        Form::Object | Form::Discovery => forms::json(kind, object),
        Form::Metadata => forms::metadata_of(object.value()).to_string().into(),
        Form::Table => {
            let version = object.resource_version().to_string();
            let content = table::Content::of(parameters)?;
            table::render(kind, std::slice::from_ref(object), &version, content, true).to_string().into()
        }
    };
    Ok(json_with(code, bytes))
}

/// A list, or a watch if `watch=true`.
pub(crate) fn list_or_watch(
    store: &Store,
    target: &Target<'_>,
    parameters: &Parameters,
    headers: &HeaderMap,
    misbehaviour: Option<&Misbehaviour>,
) -> Result<Response, Status> {
    let form = media::accepted(headers)?;
    let kind = target.kind;
    let filter = parameters.filter(kind, target.namespace)?;
    if parameters.flag("watch") {
        return feed::answer(store, kind, &filter, parameters, form, misbehaviour);
    }
    let mut question = Question::of(parameters)?;
    if let Some(version) = misbehaviour.and_then(|misbehaviour| misbehaviour.stale_version(kind.stored())) {
        question = question.at(version);
    }
    let page = question.answer(store, kind.stored(), &filter)?;
    let items = &page.items;
    let bytes = match form {
        Form::Object | Form::Discovery => list_bytes(kind, &page, items.iter().map(|object| forms::json(kind, object))),
        Form::Table => {
            let version = page.resource_version.to_string();
            let mut table = table::render(kind, items, &version, table::Content::of(parameters)?, true);
            table["metadata"] = page.metadata();
            table.to_string().into()
        }
        Form::Metadata => {
            let items: Vec<Value> = items.iter().map(|object| forms::metadata_of(object.value())).collect();
            let api_version = "meta.k8s.io/v1";
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": page.metadata(),
                "items": items,
            })
            .to_string()
            .into()
        }
    };
    Ok(json_with(StatusCode::OK, bytes))
}

/// Puts a list together from objects that are serialised already.
pub(crate) fn list_bytes(kind: &'static Kind, page: &Page, items: impl Iterator<Item = Bytes>) -> Bytes {
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
        kind.kind,
        kind.api_version(),
        page.metadata()
    );
    let items: Vec<Bytes> = items.collect();
    let mut bytes = Vec::with_capacity(head.len() + 2 + items.iter().map(|item| item.len() + 1).sum::<usize>());
    bytes.extend_from_slice(head.as_bytes());
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(item);
    }
    bytes.extend_from_slice(b"]}");
    bytes.into()
}
