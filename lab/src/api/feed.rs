//! A watch over HTTP: lines of JSON, bookmarks, a deadline.
//!
//! The body is a stream that is polled only when the client takes more. A client that reads nothing holds the watch's
//! own few events and no queue; when it comes back later than the history reaches, it is told 410.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::forms;
use super::media::Form;
use super::misbehaviour::{Disturbance, Interruption, Misbehaviour};
use super::parameters::Parameters;
use super::resources::Kind;
use super::status::Status;
use super::store::{From, Store};
use super::table;
use super::watch::{Filter, Watch, WatchEvent};

/// Bookmarks come at least this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(50);
/// How long a watch lives whose client did not say.
const WATCH_LIFE: Duration = Duration::from_secs(3600);
/// After events have been sent, those that follow within this time travel together: what many changes cost is the sending.
const TOGETHER: Duration = Duration::from_millis(2);
/// Events that are there already travel together up to this many bytes.
const BATCH: usize = 64 << 10;

/// A watch's answer while it runs.
struct Feed {
    watch: Watch,
    kind: &'static Kind,
    form: Form,
    content: table::Content,
    columns_sent: bool,
    /// Events still to come before the closing bookmark of a WatchList; `None` once it is sent or was not asked for.
    initial_left: Option<usize>,
    /// Events that are taken from the watch and not yet written.
    taken: VecDeque<WatchEvent>,
    bookmarks: bool,
    next_bookmark: Instant,
    /// New events are not looked for before.
    next_look: Instant,
    deadline: Instant,
    disturbance: Option<Disturbance>,
    over: bool,
}

/// Opens a watch and answers with its events.
///
/// # Errors
/// 400 or 422 for parameters that do not fit together. A version that is forgotten is an event of the answer, as with
/// the real server.
pub(crate) fn answer(
    store: &Store,
    kind: &'static Kind,
    filter: &Filter,
    parameters: &Parameters,
    form: Form,
    misbehaviour: Option<&Misbehaviour>,
) -> Result<Response, Status> {
    let initial = parameters.text("sendInitialEvents").is_some().then(|| parameters.flag("sendInitialEvents"));
    match (initial, parameters.text("resourceVersionMatch")) {
        (None, None) | (Some(_), Some("NotOlderThan")) => {}
        (None, Some(_)) => {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(Status::invalid_options("resourceVersionMatch", detail));
        }
        (Some(_), _) => {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Status::invalid_options("resourceVersionMatch", detail));
        }
    }
    let seconds: Option<u64> = parameters.number("timeoutSeconds")?;
    let content = table::Content::of(parameters)?;
    let version: Option<u64> = parameters.number("resourceVersion")?;
    let stale = misbehaviour.and_then(|misbehaviour| misbehaviour.stale_version(kind.stored()));
    let from = match (initial, version.filter(|v| *v > 0)) {
        (Some(true), _) | (None, None) => stale.map_or(From::Now, From::StateAt),
        (_, Some(version)) => From::Version(version),
        (Some(false), None) => From::Version(store.version()),
    };
    let gone = misbehaviour.is_some_and(|misbehaviour| misbehaviour.of(kind.stored()).gone);
    let opened = match from {
        From::Version(version) if gone => Err(Status::expired(version, store.version())),
        from => store.watch(kind.stored(), filter.clone(), from),
    };
    let watch = match opened {
        Ok(watch) => watch,
        Err(status) if status.code == 410 => return Ok(lines(Body::from(error(&status)))),
        Err(status) => return Err(status),
    };
    let life = seconds.filter(|s| *s > 0).map_or(WATCH_LIFE, Duration::from_secs);
    let feed = Feed {
        initial_left: (initial == Some(true)).then(|| watch.pending()),
        watch,
        kind,
        form,
        content,
        columns_sent: false,
        taken: VecDeque::new(),
        bookmarks: parameters.flag("allowWatchBookmarks"),
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        next_look: Instant::now(),
        deadline: Instant::now() + life,
        disturbance: misbehaviour.map(|misbehaviour| Disturbance::new(misbehaviour, kind.stored())),
        over: false,
    };
    let events = unfold(feed, |mut feed| async move { feed.next().await.map(|bytes| (Ok::<_, Status>(bytes), feed)) });
    Ok(lines(Body::from_stream(events)))
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn error(status: &Status) -> Bytes {
    let mut bytes = Vec::new();
    line(&mut bytes, "ERROR", status.to_value().to_string().as_bytes());
    bytes.into()
}

/// What a feed waited for.
enum Next {
    Event(Result<WatchEvent, Status>),
    Clock,
    Interruption(Interruption),
}

impl Feed {
    /// The next lines of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.taken.is_empty() {
                self.next_look = Instant::now() + TOGETHER;
                return Some(self.write_taken());
            }
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
            match self.wait().await {
                Next::Event(Ok(event)) => {
                    if let Err(status) = self.take(event).await {
                        self.over = true;
                        return Some(error(&status));
                    }
                }
                Next::Event(Err(status)) => {
                    self.over = true;
                    return Some(error(&status));
                }
                Next::Interruption(Interruption::Cut) => return None,
                Next::Interruption(Interruption::Gone) => {
                    self.over = true;
                    let version = self.watch.resource_version().unwrap_or_default();
                    return Some(error(&Status::expired(version, version)));
                }
                Next::Clock if Instant::now() >= self.deadline => {}
                Next::Clock => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.bookmark(false));
                }
            }
        }
    }

    async fn wait(&mut self) -> Next {
        let pause = self.deadline.min(if self.bookmarks { self.next_bookmark } else { self.deadline });
        let interrupted = async {
            match &mut self.disturbance {
                Some(disturbance) => disturbance.interruption().await,
                None => std::future::pending().await,
            }
        };
        let (watch, look) = (&mut self.watch, self.next_look);
        let event = async {
            if watch.pending() == 0 {
                tokio::time::sleep_until(look).await;
            }
            watch.next().await
        };
        tokio::select! {
            biased;
            interruption = interrupted => Next::Interruption(interruption),
            // Events that are ready go before the clock.
            event = event => Next::Event(event),
            () = tokio::time::sleep_until(pause) => Next::Clock,
        }
    }

    /// Takes an event, and those that are there already, from the watch.
    async fn take(&mut self, event: WatchEvent) -> Result<(), Status> {
        let Some(disturbance) = &mut self.disturbance else {
            let mut bytes = event.object().json().len();
            self.taken.push_back(event);
            while bytes < BATCH
                && let Some(event) = self.watch.try_next()?
            {
                bytes += event.object().json().len();
                self.taken.push_back(event);
            }
            self.initial_left = self.initial_left.map(|left| left.saturating_sub(self.taken.len()));
            return Ok(());
        };
        let pending = self.watch.pending() + 1;
        match disturbance.suffer(event, &mut self.watch).await? {
            Some(events) => self.taken.extend(events),
            None => self.over = true,
        }
        let handed_out = pending.saturating_sub(self.watch.pending());
        self.initial_left = self.initial_left.map(|left| left.saturating_sub(handed_out));
        Ok(())
    }

    fn write_taken(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        while let Some(event) = self.taken.pop_front() {
            self.write(&mut bytes, &event);
        }
        bytes.into()
    }

    fn write(&mut self, bytes: &mut Vec<u8>, event: &WatchEvent) {
        let kind = match event {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
        };
        let object = event.object();
        match self.form {
            Form::Object | Form::Discovery => line(bytes, kind, &forms::json(self.kind, object)),
            Form::Metadata => line(bytes, kind, forms::metadata_of(object.value()).to_string().as_bytes()),
            Form::Table => {
                let version = object.resource_version().to_string();
                let first = !std::mem::replace(&mut self.columns_sent, true);
                let table = table::render(self.kind, std::slice::from_ref(object), &version, self.content, first);
                line(bytes, kind, table.to_string().as_bytes());
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
        let object: Value = match self.form {
            Form::Object | Form::Discovery => {
                json!({ "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata })
            }
            Form::Metadata => forms::metadata_of(&json!({ "metadata": metadata })),
            Form::Table => table::render(self.kind, &[], &version, self.content, false),
        };
        let mut bytes = Vec::new();
        line(&mut bytes, "BOOKMARK", object.to_string().as_bytes());
        bytes.into()
    }
}

fn line(bytes: &mut Vec<u8>, kind: &str, object: &[u8]) {
    bytes.reserve(object.len() + 40);
    bytes.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(b"}\n");
}
