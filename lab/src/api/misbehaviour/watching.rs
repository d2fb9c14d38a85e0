//! What a watch has to suffer: it is cut, gone, late, and its events come twice or in the wrong order.

use std::time::Duration;

use tokio::sync::watch;

use super::{Misbehaviour, State};
use crate::api::resources::Kind;
use crate::api::status::Status;
use crate::api::watch::{Watch, WatchEvent};

/// Events that come within this time of each other can change places.
const TOGETHER: Duration = Duration::from_millis(20);

/// One watch's share of what is wrong.
pub(crate) struct Disturbance {
    misbehaviour: Misbehaviour,
    kind: &'static Kind,
    state: watch::Receiver<State>,
    cuts_before: u64,
    sent: usize,
}

/// Why a watch ends before its time.
pub(crate) enum Interruption {
    /// It is closed.
    Cut,
    /// It ends with 410.
    Gone,
}

impl Disturbance {
    pub(crate) fn new(misbehaviour: &Misbehaviour, kind: &'static Kind) -> Self {
        let state = misbehaviour.0.state.subscribe();
        let cuts_before = state.borrow().cuts;
        Self { misbehaviour: misbehaviour.clone(), kind, state, cuts_before, sent: 0 }
    }

    /// Waits until the watch is to end.
    pub(crate) async fn interruption(&mut self) -> Interruption {
        let (kind, cuts_before) = (self.kind, self.cuts_before);
        let gone = |state: &State| state.behaviour.gone && state.behaviour.concerns(kind);
        let ended = self.state.wait_for(|state| state.cuts > cuts_before || gone(state)).await;
        match ended {
            Ok(state) if gone(&state) => Interruption::Gone,
            _ => Interruption::Cut,
        }
    }

    /// What becomes of an event that is about to be handed out, and of those that follow it; `None` to cut the watch.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub(crate) async fn suffer(
        &mut self,
        first: WatchEvent,
        watch: &mut Watch,
    ) -> Result<Option<Vec<WatchEvent>>, Status> {
        let behaviour = self.misbehaviour.of(self.kind);
        let mut events = vec![first];
        while events.len() < behaviour.reorder_events {
            match tokio::time::timeout(TOGETHER, watch.next()).await {
                Ok(event) => events.push(event?),
                Err(_) => break,
            }
        }
        events.reverse();
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        if let Some(limit) = behaviour.cut_after_events {
            if self.sent >= limit {
                return Ok(None);
            }
            events.truncate(limit - self.sent);
        }
        self.sent += events.len();
        let again = behaviour.repeat_events + 1;
        Ok(Some(events.into_iter().flat_map(|event| std::iter::repeat_n(event, again)).collect()))
    }
}
