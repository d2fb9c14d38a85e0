//! One round: every cell probed once, at the same time, with the evidence of both ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netpol_wire::{Answer, Call, Token};
use tokio::time::Instant;

use super::asking::{Outgoing, Results, ask_listeners, ask_probers, ask_receivers, unproven};
use super::errors::{self, ErrorBudget};
use super::seen::Seen;
use super::{Evidence, Session, Verdict};
use crate::plan::{BoundPod, Cell, PodRef, Route};

/// A pod that takes part in rounds.
#[derive(Debug)]
pub struct Member {
    /// The stream to its agent.
    pub session: Session,
    /// Where it is.
    pub bound: BoundPod,
    next: AtomicU32,
    pub(super) errors: ErrorBudget,
}

impl Member {
    /// A pod with its stream, and the first of its tuples.
    pub fn new(session: Session, bound: BoundPod, first: Token) -> Self {
        Member { session, bound, next: AtomicU32::new(first.0), errors: ErrorBudget::default() }
    }

    /// The agent's answers, or in words why there are none.
    pub(super) async fn ask(&self, call: Call) -> Result<Vec<Answer>, String> {
        self.session.ask(call).await.map_err(|error| error.to_string())
    }

    /// A fresh tuple: an old conntrack entry must not answer for the policy.
    pub fn token(&self) -> Token {
        self.tokens(1)
    }

    /// So many fresh tuples, by the first of them.
    pub(super) fn tokens(&self, count: u32) -> Token {
        Token(self.next.fetch_add(count, Ordering::Relaxed))
    }
}

/// What one probe of a cell showed.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What it proves.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Evidence,
    /// The round trip, where there was one.
    pub rtt: Option<Duration>,
    /// When the round was sent.
    pub sent: Instant,
}

/// What a round showed.
#[derive(Debug)]
pub struct Round {
    /// By cell: all that were asked for.
    pub cells: BTreeMap<Cell, Observation>,
    /// By how much an agent was late at the most.
    pub late: Duration,
    /// How long it waited for receivers that had sent all the ICMP errors that they may.
    pub waited: Duration,
}

/// Probes every cell once. A pod whose agent cannot be asked leaves its cells [`Verdict::NotMeasured`].
pub async fn sample(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Round {
    let asked = Instant::now();
    errors::await_turn(members, cells).await;
    let sent = Instant::now();
    let outgoing = Outgoing::of(members, cells, timeout);
    let results = ask_probers(members, &outgoing.probes).await;
    let round = gather(members, cells, (&outgoing, &results), (sent, timeout)).await;
    Round { waited: sent - asked, ..round }
}

/// Asks the other ends of probes that have ended, whose round was sent at this time.
pub(super) async fn gather(
    members: &BTreeMap<PodRef, Member>,
    cells: &BTreeMap<Cell, Route>,
    (outgoing, results): (&Outgoing, &Results),
    (sent, timeout): (Instant, Duration),
) -> Round {
    let (arrivals, listeners) = futures::join!(
        ask_receivers(members, cells, outgoing, results),
        ask_listeners(members, unproven(cells, outgoing, results), timeout),
    );
    let mut round = Round { cells: BTreeMap::new(), late: Duration::ZERO, waited: Duration::ZERO };
    for result in results.values().chain(listeners.values()).filter_map(|result| result.as_ref().ok()) {
        round.late = round.late.max(Duration::from_micros(result.late_us));
    }
    let seen = Seen {
        bound: members.iter().map(|(pod, member)| (pod, &member.bound)).collect(),
        outgoing,
        results,
        arrivals: &arrivals,
        listeners: &listeners,
        answered: Seen::answered(cells, outgoing, results),
    };
    for (cell, route) in cells {
        let evidence = seen.gather(cell, route);
        let rtt = outgoing.cell(cell).and_then(|key| results.get(&key)?.as_ref().ok()?.rtt_us);
        let rtt = rtt.map(Duration::from_micros);
        round.cells.insert(cell.clone(), Observation { verdict: evidence.verdict(), evidence, rtt, sent });
    }
    round
}
