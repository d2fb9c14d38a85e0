//! Watches: an ordered reading of a kind's recent changes, from any version that is still remembered.
//!
//! There is one bounded history per kind and no queue per watcher: a watcher holds the version that it has seen and
//! reads on from there. One that is slower than the history is long gets 410, as with the real server.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{Stream, unfold};
use serde_json::Value;
use tokio::sync::watch;

use super::object::Object;
use super::resources::Kind;
use super::selectors::{FieldSelector, LabelSelector};
use super::status::Status;
use super::store::Store;

/// How many changes of a kind are remembered.
pub(crate) const HISTORY: usize = 8192;

/// How many changes a watcher takes from the history at once: what one that does not go on keeps alive.
const AT_ONCE: usize = 64;

/// A change to an object, as a watcher sees it through its selector.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    /// New, or new to the selector.
    Added(Arc<Object>),
    /// Changed.
    Modified(Arc<Object>),
    /// Gone, or out of the selector. The object is its last version, with the deletion's resourceVersion.
    Deleted(Arc<Object>),
}

impl WatchEvent {
    /// The object concerned.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => object,
        }
    }
}

/// What of a kind is wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only objects of this namespace.
    pub namespace: Option<String>,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these fields.
    pub fields: FieldSelector,
}

impl Filter {
    /// Whether no selector restricts it; a namespace may.
    pub(crate) fn selects_everything(&self) -> bool {
        self.labels == LabelSelector::default() && self.fields == FieldSelector::default()
    }

    /// Whether the object is wanted.
    pub fn matches(&self, object: &Object) -> bool {
        let value: &Value = object.value();
        self.namespace.as_ref().is_none_or(|namespace| object.namespace() == namespace)
            && (self.selects_everything()
                || self.labels.matches(&value["metadata"]["labels"]) && self.fields.matches(value))
    }
}

/// A change as the history keeps it.
#[derive(Debug)]
pub(crate) struct Change {
    /// The version that the change made.
    pub(crate) resource_version: u64,
    /// The object before, unless it is new.
    pub(crate) before: Option<Arc<Object>>,
    /// The object after; for a deletion its last state with the deletion's version.
    pub(crate) after: Arc<Object>,
    /// Whether the object is gone.
    pub(crate) deleted: bool,
}

impl Change {
    fn seen_through(&self, filter: &Filter) -> Option<WatchEvent> {
        let was = self.before.as_ref().is_some_and(|object| filter.matches(object));
        let is = !self.deleted && filter.matches(&self.after);
        let object = || Arc::clone(&self.after);
        match (was, is) {
            (false, true) => Some(WatchEvent::Added(object())),
            (true, true) => Some(WatchEvent::Modified(object())),
            (true, false) => Some(WatchEvent::Deleted(object())),
            (false, false) => None,
        }
    }
}

/// The last changes of a kind, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Arc<Change>>,
    /// Version of the youngest change that was forgotten.
    forgotten: u64,
}

impl History {
    pub(crate) fn push(&mut self, change: Change) {
        if self.changes.len() == HISTORY
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.resource_version;
        }
        self.changes.push_back(Arc::new(change));
    }

    /// The changes after a version.
    ///
    /// # Errors
    /// 410 if some of them are forgotten.
    pub(crate) fn after(&self, version: u64) -> Result<impl Iterator<Item = &Arc<Change>>, Status> {
        if version < self.forgotten {
            return Err(Status::expired(version, self.forgotten));
        }
        let start = self.changes.partition_point(|change| change.resource_version <= version);
        Ok(self.changes.range(start..))
    }
}

/// A running watch.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    kind: &'static Kind,
    filter: Filter,
    pending: VecDeque<WatchEvent>,
    seen: u64,
    changed: watch::Receiver<u64>,
}

impl Watch {
    pub(crate) fn new(
        store: Store,
        kind: &'static Kind,
        filter: Filter,
        initial: Vec<Arc<Object>>,
        seen: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        let pending = initial.into_iter().map(WatchEvent::Added).collect();
        Self { store, kind, filter, pending, seen, changed }
    }

    /// The next event; waits for one. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// 410 if the watcher fell behind further than the history reaches. The watch is then over.
    pub async fn next(&mut self) -> Result<WatchEvent, Status> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // The sender lives in the store, which this watch holds: it cannot be gone.
            let _ = self.changed.changed().await;
        }
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<WatchEvent>, Status> {
        if self.pending.is_empty() {
            // Before the history is read: a change that comes meanwhile wakes the watch again.
            self.changed.mark_unchanged();
            let filter = &self.filter;
            // Changes that the filter hides cost nothing to keep, so it goes on to those that it shows.
            loop {
                let (changes, seen) = self.store.changes_after(self.kind, self.seen, AT_ONCE)?;
                self.pending.extend(changes.iter().filter_map(|change| change.seen_through(filter)));
                self.seen = seen;
                if changes.len() < AT_ONCE || !self.pending.is_empty() {
                    break;
                }
            }
        }
        Ok(self.pending.pop_front())
    }

    /// How many events are ready to be handed out without a look at the store.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The version up to which everything has been handed out: what a bookmark says. `None` while events are pending.
    pub fn resource_version(&self) -> Option<u64> {
        self.pending.is_empty().then_some(self.seen)
    }

    /// The watch as a stream that ends after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchEvent, Status>> + Send {
        unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }
}
