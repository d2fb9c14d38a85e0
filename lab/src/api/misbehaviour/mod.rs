//! Misbehaviour on request: what real API servers do on bad days, for tests of those who have to live with it.
//!
//! It is off unless the server is given a [`Misbehaviour`] (`netpol lab up --misbehaviour`, an argument that no help
//! shows). Tests in the same process call its methods; others use the endpoint `/netpol.dev/misbehaviour`: GET shows
//! the [`Behaviour`] in force, PUT replaces it, DELETE ends it, and POST takes an [`Action`]. Without the argument the
//! path does not exist. What is asked of one resource leaves the others, and this endpoint, alone.

mod endpoint;
mod outage;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::resources::Kind;
use super::status::Status;
use super::store::Store;

pub(crate) use endpoint::{PATH, answer};
pub(crate) use outage::{refuse, share};
pub(crate) use watching::{Disturbance, Interruption};

/// What is wrong with the server for as long as it stands. The default is: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Behaviour {
    /// Which resources are concerned, as `pods` or `networkpolicies.networking.k8s.io`; all of them if none is named.
    pub resources: Vec<String>,
    /// Milliseconds by which every answer, and every batch of a watch's events, is late.
    pub delay_ms: u64,
    /// Requests are refused with this HTTP code, such as 429, 500 or 503.
    pub refuse_with: Option<u16>,
    /// Watches that start at a version, and those that run already, end with 410.
    pub gone: bool,
    /// A watch is closed without a word after this many events.
    pub cut_after_events: Option<usize>,
    /// Lists, and the first events of watches, show what was there when this was set, with that version.
    pub stale_lists: bool,
    /// Every event of a watch comes this many times more.
    pub repeat_events: usize,
    /// Events that come within 20 ms of each other are handed out in reverse, up to this many at once.
    pub reorder_events: usize,
}

/// Something that happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "action", deny_unknown_fields)]
pub enum Action {
    /// Every watch that runs is closed without a word.
    CutWatches,
    /// Connections are closed, and new ones refused for a while.
    #[serde(rename_all = "camelCase")]
    Downtime {
        /// Milliseconds until connections are accepted again.
        for_ms: u64,
    },
}

/// The switch; clones share it.
#[derive(Debug, Clone)]
pub struct Misbehaviour(Arc<Switch>);

#[derive(Debug)]
struct Switch {
    store: Store,
    state: watch::Sender<State>,
    down_until: watch::Sender<Option<Instant>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    behaviour: Behaviour,
    /// The store's version when the behaviour was set.
    since: u64,
    /// How often all watches were cut.
    cuts: u64,
}

impl Misbehaviour {
    /// A switch for the server of this store; nothing is wrong yet.
    pub fn new(store: &Store) -> Self {
        Self(Arc::new(Switch {
            store: store.clone(),
            state: watch::channel(State::default()).0,
            down_until: watch::channel(None).0,
        }))
    }

    /// Replaces what is wrong; [`Behaviour::default`] ends it.
    pub fn set(&self, behaviour: Behaviour) {
        let since = self.0.store.version();
        self.0.state.send_modify(|state| {
            state.behaviour = behaviour;
            state.since = since;
        });
    }

    /// What is wrong.
    pub fn get(&self) -> Behaviour {
        self.0.state.borrow().behaviour.clone()
    }

    /// Closes every watch that runs, without a word.
    pub fn cut_watches(&self) {
        self.0.state.send_modify(|state| state.cuts += 1);
    }

    /// Closes every connection and refuses new ones until `duration` has passed.
    pub fn down_for(&self, duration: Duration) {
        self.0.down_until.send_replace(Some(Instant::now() + duration));
    }

    /// Waits until the server is to be down; says until when.
    pub(crate) async fn outage(&self) -> Instant {
        let mut until = self.0.down_until.subscribe();
        let due = until.wait_for(|until| until.is_some_and(|until| until > Instant::now())).await;
        // The sender lives in the switch.
        due.ok().and_then(|until| *until).unwrap_or_else(Instant::now)
    }

    /// What is wrong for one kind.
    pub(crate) fn of(&self, kind: &'static Kind) -> Behaviour {
        let behaviour = self.get();
        if behaviour.concerns(kind) { behaviour } else { Behaviour::default() }
    }

    /// The version that lists of a kind show, if it is not the present one.
    pub(crate) fn stale_version(&self, kind: &'static Kind) -> Option<u64> {
        let state = self.0.state.borrow();
        (state.behaviour.stale_lists && state.behaviour.concerns(kind)).then_some(state.since)
    }

    /// Delays or refuses a request for a kind.
    ///
    /// # Errors
    /// What [`Behaviour::refuse_with`] says.
    pub(crate) async fn receive(&self, kind: &'static Kind) -> Result<(), Status> {
        let behaviour = self.of(kind);
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        behaviour.refuse_with.map_or(Ok(()), |code| Err(Status::misbehaving(code)))
    }
}

impl Behaviour {
    fn concerns(&self, kind: &'static Kind) -> bool {
        self.resources.is_empty() || self.resources.iter().any(|name| *name == kind.resource())
    }
}
