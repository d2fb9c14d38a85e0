//! `get` and `list` over HTTP, in the form that the client takes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::stream;
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

/// Bytes of a list after which the next part begins.
const PART: usize = 64 << 10;

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
    let whole = match form {
        Form::Object | Form::Discovery => {
            let head = list_head(kind, &page);
            return Ok(json_with(StatusCode::OK, list_body(head, page.items, move |object| forms::json(kind, object))));
        }
        Form::Table => {
            let version = page.resource_version.to_string();
            let mut table = table::render(kind, items, &version, table::Content::of(parameters)?, true);
            table["metadata"] = page.metadata();
            table
        }
        Form::Metadata => {
            let items: Vec<Value> = items.iter().map(|object| forms::metadata_of(object.value())).collect();
            let api_version = "meta.k8s.io/v1";
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": page.metadata(),
                "items": items,
            })
        }
    };
    Ok(json_with(StatusCode::OK, whole.to_string()))
}

/// A list up to its first item.
pub(crate) fn list_head(kind: &'static Kind, page: &Page) -> String {
    let (list, version) = (kind.kind, kind.api_version());
    format!(r#"{{"kind":"{list}List","apiVersion":"{version}","metadata":{},"items":["#, page.metadata())
}

/// Puts a list together from objects that are serialised already. A long one is sent part by part: the client decodes one while the next
/// is made, and the whole never stands in memory.
pub(crate) fn list_body<T: Send + 'static>(
    head: String,
    items: Vec<T>,
    json: impl Fn(&T) -> Bytes + Send + 'static,
) -> Body {
    let mut items = items.into_iter().peekable();
    let mut begun = Some(head.into_bytes());
    let mut parts = std::iter::from_fn(move || {
        let first = begun.is_some();
        if !first && items.peek().is_none() {
            return None;
        }
        let mut part = begun.take().unwrap_or_else(|| vec![b',']);
        while let Some(item) = items.next() {
            part.extend_from_slice(&json(&item));
            match items.peek() {
                None => part.extend_from_slice(b"]}"),
                Some(_) if part.len() >= PART => break,
                Some(_) => part.push(b','),
            }
        }
        if first && part.ends_with(b"[") {
            part.extend_from_slice(b"]}");
        }
        Some(Bytes::from(part))
    })
    .peekable();
    match parts.next() {
        Some(only) if parts.peek().is_none() => only.into(),
        first => Body::from_stream(stream::iter(first.into_iter().chain(parts).map(Ok::<_, Infallible>))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_of_every_length_are_whole() {
        for count in [0, 1, 2, 1000, 20_000] {
            let items: Vec<usize> = (0..count).collect();
            let body = list_body(r#"{"items":["#.to_owned(), items.clone(), |item| item.to_string().into());
            let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let list: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(list["items"], json!(items));
        }
    }
}
