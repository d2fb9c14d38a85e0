//! `get`, `list` and `watch` over HTTP, in the form that the client takes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::forms;
use super::media::{self, Form};
use super::object::Object;
use super::parameters::Parameters;
use super::resources::Kind;
use super::routes::{Target, json_with};
use super::status::Status;
use super::store::{From, Store};
use super::table;
use super::watch::{Watch, WatchEvent};

/// Bookmarks come at least this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(50);
/// How long a watch lives whose client did not say.
const WATCH_LIFE: Duration = Duration::from_secs(3600);

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
        Form::Metadata => metadata_of(object.value()).to_string().into(),
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
) -> Result<Response, Status> {
    let form = media::accepted(headers)?;
    let kind = target.kind;
    let filter = parameters.filter(kind, target.namespace)?;
    if parameters.flag("watch") {
        return watch(store, kind, parameters, form, |from| store.watch(kind.stored(), filter.clone(), from));
    }
    let list = store.list(kind.stored(), &filter);
    let version = list.resource_version.to_string();
    let bytes = match form {
        Form::Object | Form::Discovery => {
            list_bytes(kind, &version, list.items.iter().map(|object| forms::json(kind, object)))
        }
        Form::Table => {
            table::render(kind, &list.items, &version, table::Content::of(parameters)?, true).to_string().into()
        }
        Form::Metadata => {
            let items: Vec<Value> = list.items.iter().map(|object| metadata_of(object.value())).collect();
            let metadata = json!({ "resourceVersion": version });
            let api_version = "meta.k8s.io/v1";
            json!({ "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": metadata, "items": items })
                .to_string()
                .into()
        }
    };
    Ok(json_with(StatusCode::OK, bytes))
}

/// Puts a list together from objects that are serialised already.
pub(crate) fn list_bytes(kind: &'static Kind, version: &str, items: impl Iterator<Item = Bytes>) -> Bytes {
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{version}"}},"items":["#,
        kind.kind,
        kind.api_version()
    );
    let mut bytes = head.into_bytes();
    for (position, item) in items.enumerate() {
        if position > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&item);
    }
    bytes.extend_from_slice(b"]}");
    bytes.into()
}

fn metadata_of(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// A watch's answer while it runs.
struct Feed {
    watch: Watch,
    kind: &'static Kind,
    form: Form,
    content: table::Content,
    columns_sent: bool,
    /// Events still to come before the closing bookmark of a WatchList; `None` once it is sent or was not asked for.
    initial_left: Option<usize>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    over: bool,
}

fn watch(
    store: &Store,
    kind: &'static Kind,
    parameters: &Parameters,
    form: Form,
    open: impl Fn(From) -> Result<Watch, Status>,
) -> Result<Response, Status> {
    let initial = parameters.text("sendInitialEvents").is_some().then(|| parameters.flag("sendInitialEvents"));
    if initial.is_some() && parameters.text("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Status::bad_request("sendInitialEvents requires resourceVersionMatch=NotOlderThan"));
    }
    let version: Option<u64> = parameters.number("resourceVersion")?;
    let from = match (initial, version.filter(|v| *v > 0)) {
        (Some(true), _) | (None, None) => From::Now,
        (_, Some(version)) => From::Version(version),
        (Some(false), None) => From::Version(store.version()),
    };
    let watch = open(from)?;
    let seconds: Option<u64> = parameters.number("timeoutSeconds")?;
    let life = seconds.filter(|s| *s > 0).map_or(WATCH_LIFE, Duration::from_secs);
    let feed = Feed {
        initial_left: (initial == Some(true)).then(|| watch.pending()),
        watch,
        kind,
        form,
        content: table::Content::of(parameters)?,
        columns_sent: false,
        bookmarks: parameters.flag("allowWatchBookmarks"),
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        deadline: Instant::now() + life,
        over: false,
    };
    let events = unfold(feed, |mut feed| async move { feed.next().await.map(|bytes| (Ok::<_, Status>(bytes), feed)) });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(events)).into_response())
}

impl Feed {
    /// The next line of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if self.initial_left == Some(0) {
                self.initial_left = None;
                if self.bookmarks {
                    return Some(self.bookmark(true));
                }
            }
            if Instant::now() >= self.deadline {
                // Also when events never pause.
                self.over = true;
                return self.bookmarks.then(|| self.bookmark(false)).filter(|_| self.watch.pending() == 0);
            }
            let pause = self.deadline.min(if self.bookmarks { self.next_bookmark } else { self.deadline });
            // Events that are ready go first: `timeout_at` polls the watch before the clock.
            match tokio::time::timeout_at(pause, self.watch.next()).await {
                Ok(Ok(event)) => {
                    self.initial_left = self.initial_left.map(|left| left.saturating_sub(1));
                    return Some(self.event(&event));
                }
                Ok(Err(status)) => {
                    self.over = true;
                    return Some(line("ERROR", status.to_value().to_string().as_bytes()));
                }
                Err(_) if Instant::now() >= self.deadline => {}
                Err(_) => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.bookmark(false));
                }
            }
        }
    }

    fn event(&mut self, event: &WatchEvent) -> Bytes {
        let kind = match event {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
        };
        let object = event.object();
        match self.form {
            Form::Object | Form::Discovery => line(kind, &forms::json(self.kind, object)),
            Form::Metadata => line(kind, metadata_of(object.value()).to_string().as_bytes()),
            Form::Table => {
                let version = object.resource_version().to_string();
                let first = !std::mem::replace(&mut self.columns_sent, true);
                let table = table::render(self.kind, std::slice::from_ref(object), &version, self.content, first);
                line(kind, table.to_string().as_bytes())
            }
        }
    }

    fn bookmark(&self, closes_initial: bool) -> Bytes {
        // Bookmarks are made when nothing is pending, so the version is known.
        let version = self.watch.resource_version().unwrap_or_default().to_string();
        let mut metadata = json!({ "resourceVersion": version });
        if closes_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.form {
            Form::Object | Form::Discovery => {
                json!({ "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata })
            }
            Form::Metadata => metadata_of(&json!({ "metadata": metadata })),
            Form::Table => table::render(self.kind, &[], &version, self.content, false),
        };
        line("BOOKMARK", object.to_string().as_bytes())
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(object.len() + 40);
    bytes.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(b"}\n");
    bytes.into()
}
