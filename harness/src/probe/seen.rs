//! From what both ends of a round saw to the evidence of each cell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netpol_wire::{Arrival, Got, ProbeResult, Token};

use super::Evidence;
use super::asking::{Listener, Outgoing, Results, is_reply, listeners, probe};
use super::round::Member;
use crate::plan::{Cell, PodRef, Route, Transport};

/// A packet that is known to have come in: its receiver, what it was sent as, and its token.
type Explained<'a> = (&'a PodRef, Transport, Token);

/// What both ends of a round saw.
pub(super) struct Seen<'a> {
    pub(super) members: &'a BTreeMap<PodRef, Member>,
    pub(super) outgoing: &'a Outgoing,
    pub(super) results: &'a Results,
    /// By receiver: the packets that came in, or why it cannot tell.
    pub(super) arrivals: &'a BTreeMap<PodRef, Result<Vec<Arrival>, String>>,
    /// Of the listeners that had answered nobody: what they answered over loopback.
    pub(super) listeners: &'a BTreeMap<Listener, Result<ProbeResult, String>>,
    /// The probes whose reply shows that they arrived.
    pub(super) answered: BTreeSet<Explained<'a>>,
}

impl<'a> Seen<'a> {
    /// The probes whose reply shows that they arrived.
    pub(super) fn answered(
        cells: &'a BTreeMap<Cell, Route>,
        outgoing: &Outgoing,
        results: &Results,
    ) -> BTreeSet<Explained<'a>> {
        let mut answered = BTreeSet::new();
        for (cell, route) in cells {
            let Some(key) = outgoing.cell(cell).filter(|key| is_reply(results.get(key))) else { continue };
            answered.extend(route.receivers.iter().map(|(receiver, transport)| (receiver, *transport, key.1)));
        }
        answered
    }

    /// The evidence of one cell.
    pub(super) fn gather(&self, cell: &Cell, route: &Route) -> Evidence {
        let unmeasured =
            |why: String| Evidence { got: None, arrived: None, listener: true, refused: None, detail: Some(why) };
        let Some(key) = self.outgoing.cell(cell) else { return unmeasured(format!("{} is not there", cell.from)) };
        let result = match self.results.get(&key) {
            Some(Ok(result)) => result,
            Some(Err(why)) => return unmeasured(why.clone()),
            None => return unmeasured("not sent".into()),
        };
        let listener = listeners(route).all(|of| self.listeners.get(&of).is_none_or(|answer| is_reply(Some(answer))));
        let refused = matches!(route.transport, Transport::RefusedUdp(_)).then(|| {
            let receivers = route.receivers.iter().filter_map(|(pod, _)| self.members.get(pod));
            result.refused_by.is_some_and(|by| receivers.into_iter().any(|member| member.bound.ips.contains(&by)))
        });
        // It may have arrived at any of the receivers; that it did not is known only when all of them say so.
        let (mut arrived, mut complaint) = (Some(false), None);
        // What a pod sends to itself goes over its loopback, where no capture is.
        let to_itself = refused == Some(true) && cell.to.pod() == Some(&cell.from);
        if result.got == Got::Reply || to_itself {
            arrived = Some(true);
        } else {
            for (receiver, transport) in &route.receivers {
                match self.arrivals.get(receiver) {
                    Some(Ok(seen)) => {
                        // A packet from an address that is nobody's may be another prober's with the same token, whose reply shows that
                        // it arrived.
                        let explained = self.answered.contains(&(receiver, *transport, key.1));
                        if seen.iter().any(|arrival| self.is_of(cell, (key.1, *transport), explained, arrival)) {
                            arrived = Some(true);
                        }
                    }
                    other => {
                        arrived = arrived.filter(|arrived| *arrived);
                        complaint = Some(match other {
                            Some(Err(why)) => why.clone(),
                            _ => format!("{receiver} is not there"),
                        });
                    }
                }
            }
        }
        if result.got == Got::Reply && refused.is_some() {
            complaint = Some(format!("somebody listens there: {} is no probe for this port", cell.traffic));
        }
        let detail = complaint.or_else(|| result.detail.clone());
        Evidence { got: Some(result.got), arrived, listener, refused, detail }
    }

    /// Whether a captured packet is the one of this cell: tokens are numbered per prober, so its address tells them apart. An
    /// address that no pod has is a rewritten one (P12), and so is a node's on the way through a Service: rather a packet too many than
    /// a leak unseen, unless another probe explains it.
    fn is_of(&self, cell: &Cell, (token, transport): (Token, Transport), explained: bool, arrival: &Arrival) -> bool {
        let wanted = probe(token, transport, arrival.src, Duration::ZERO);
        if arrival.n != token || arrival.proto != wanted.proto || arrival.port != wanted.port {
            return false;
        }
        let mut owners = self.members.iter().filter(|(_, member)| member.bound.ips.contains(&arrival.src)).peekable();
        let rewritten = owners.peek().is_none()
            || (cell.to.pod().is_none()
                && self.members.values().any(|member| member.bound.node_ips.contains(&arrival.src)));
        owners.any(|(pod, _)| *pod == cell.from) || (rewritten && !explained)
    }
}
