//! Which state a list shows, and which part of it: `resourceVersion`, `resourceVersionMatch`, `limit`, `continue`.
//!
//! A list in pages is one list: later pages show the state of the first, which is told from the present one by undoing
//! the changes since. Nothing is kept for a client that does not come back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::object::Object;
use super::parameters::Parameters;
use super::resources::Kind;
use super::status::Status;
use super::store::Store;
use super::watch::Filter;

/// What a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Show the state at exactly this version.
    at: Option<u64>,
    /// Show a state that is at least this new.
    not_before: Option<u64>,
    /// Objects of a page; `None`: all.
    limit: Option<usize>,
    /// Begin after this namespace and name.
    after: Option<(String, String)>,
}

/// Where the next page begins, as clients carry it around.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: u64,
    start: (String, String),
}

/// A list, or a page of one.
#[derive(Debug)]
pub(crate) struct Page {
    /// The version of the state that it shows.
    pub(crate) resource_version: u64,
    /// The objects, by namespace and name.
    pub(crate) items: Vec<Arc<Object>>,
    next: Option<String>,
    /// Objects of later pages; not told where a selector is used, as with the real server.
    remaining: Option<usize>,
}

impl Question {
    /// # Errors
    /// 400 for what cannot be read, 422 for parameters that do not fit together.
    pub(crate) fn of(parameters: &Parameters) -> Result<Self, Status> {
        let limit: Option<usize> = parameters.number("limit")?;
        let limit = limit.filter(|limit| *limit > 0);
        let version: Option<u64> = parameters.number("resourceVersion")?;
        let wanted = parameters.text("resourceVersionMatch");
        if parameters.text("sendInitialEvents").is_some() {
            return Err(Status::invalid_options("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if let Some(token) = parameters.text("continue") {
            if wanted.is_some() {
                let detail = "resourceVersionMatch is forbidden when continue is provided";
                return Err(Status::invalid_options("resourceVersionMatch", detail));
            }
            if version.is_some_and(|version| version > 0) {
                let message = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(message));
            }
            let Continue { rv, start, .. } = read(token)?;
            return Ok(Self { at: Some(rv), not_before: None, limit, after: Some(start) });
        }
        let at = match (wanted, version) {
            (None | Some("NotOlderThan"), Some(_)) | (None, None) => None,
            (Some("Exact"), Some(version)) if version > 0 => Some(version),
            (Some("Exact"), Some(_)) => {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                return Err(Status::invalid_options("resourceVersionMatch", detail));
            }
            (Some("Exact" | "NotOlderThan"), None) => {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                return Err(Status::invalid_options("resourceVersionMatch", detail));
            }
            (Some(other), _) => {
                let message = format!("resourceVersionMatch={other}: use Exact or NotOlderThan");
                return Err(Status::bad_request(message));
            }
        };
        // Asked for any version, the real server answers from its cache, which knows no pages.
        let limit = if version == Some(0) { None } else { limit };
        Ok(Self { at, not_before: version.filter(|_| at.is_none()), limit, after: None })
    }

    /// The same question about an earlier state, unless it names one.
    pub(crate) fn at(self, version: u64) -> Self {
        Self { at: self.at.or(Some(version)), ..self }
    }

    /// # Errors
    /// 410 if the state is forgotten, 504 if it lies in the future.
    pub(crate) fn answer(&self, store: &Store, kind: &'static Kind, filter: &Filter) -> Result<Page, Status> {
        let list = match self.at {
            Some(version) => store.list_at(kind, filter, version)?,
            None => store.list(kind, filter),
        };
        if let Some(wanted) = self.not_before.filter(|wanted| *wanted > store.version()) {
            return Err(Status::future_version(wanted, store.version()));
        }
        let mut items = list.items;
        if let Some((namespace, name)) = &self.after {
            let first = items.partition_point(|object| (object.namespace(), object.name()) <= (namespace, name));
            items.drain(..first);
        }
        let mut page = Page { resource_version: list.resource_version, items: Vec::new(), next: None, remaining: None };
        if let Some(limit) = self.limit.filter(|limit| *limit < items.len()) {
            page.remaining = filter.selects_everything().then(|| items.len() - limit);
            items.truncate(limit);
            page.next = items.last().map(|last| {
                let start = (last.namespace().to_owned(), last.name().to_owned());
                let token = Continue { v: "meta.k8s.io/v1".into(), rv: page.resource_version, start };
                URL_SAFE_NO_PAD.encode(json!(token).to_string())
            });
        }
        page.items = items;
        Ok(page)
    }
}

fn read(token: &str) -> Result<Continue, Status> {
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    decoded.ok_or_else(|| Status::bad_request("continue key is not valid: it was not given by this server"))
}

impl Page {
    /// A whole list.
    pub(crate) fn whole(resource_version: u64, items: Vec<Arc<Object>>) -> Self {
        Self { resource_version, items, next: None, remaining: None }
    }

    /// The list's `metadata`.
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = json!({ "resourceVersion": self.resource_version.to_string() });
        if let Some(next) = &self.next {
            metadata["continue"] = next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}
