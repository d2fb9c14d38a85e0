//! Agreeing and settling: rounds until the matrix agrees with what is expected, then more rounds while it must go on agreeing.
//!
//! The loss rule is asymmetric. One success on a denied cell is a leak, at once. An allowed cell fails only if a second probe
//! with a fresh tuple and a longer timeout is lost as well; a single loss is counted. A round in which an agent was late by more than a
//! quarter of the timeout is discarded, counted and sampled again. Cells that await ICMP errors are in the first round of the settle window, and
//! then once a second: their receivers send no more.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Profile;
use crate::plan::{Cell, Matrix, Route, Transport};
use crate::probe::{Observation, Round, Verdict, sample};
use crate::waits;
use crate::world::World;

/// A matrix under observation.
pub(super) struct Watch<'a> {
    world: &'a World,
    expected: &'a Matrix,
    cells: BTreeMap<Cell, Route>,
    profile: Profile,
    timeout: Duration,
    /// By cell: the observation that decided, which is the last one, or the first wrong one of the settle window.
    pub decided: BTreeMap<Cell, Observation>,
    /// Rounds judged.
    pub rounds: u32,
    /// Rounds discarded.
    pub discarded: u32,
    /// Single losses, once the matrix had agreed.
    pub losses: u32,
    settling: bool,
    /// Time in which it waited for receivers that had sent all the ICMP errors that they may.
    waited: Duration,
    /// When the settle window last had a round with the cells that await such errors.
    refused: Option<Instant>,
}

/// How much an observation weighs against a cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gravity {
    Fine,
    Unmeasured,
    Wrong,
}

/// When the rounds were due from which on a matrix agreed, the time for which they waited for receivers left out.
#[derive(Debug)]
pub(super) struct Agreed {
    /// In every cell.
    pub(super) all: Instant,
    /// In the cells that no Service, and so no proxy, has a part in.
    pub(super) direct: Instant,
}

/// No round could be judged: agents were late every time.
#[derive(Debug)]
pub(super) struct AlwaysLate;

impl<'a> Watch<'a> {
    pub(super) fn new(world: &'a World, expected: &'a Matrix, profile: Profile, timeout: Duration) -> Self {
        let cells = expected.iter().map(|(cell, expected)| (cell.clone(), expected.route.clone())).collect();
        let decided = BTreeMap::new();
        Watch {
            world,
            expected,
            cells,
            profile,
            timeout,
            decided,
            rounds: 0,
            discarded: 0,
            losses: 0,
            settling: false,
            waited: Duration::ZERO,
            refused: None,
        }
    }

    /// Samples until everything asserted agrees, for `limit` at most, and where nothing is wrong but cells through Services, for the time that
    /// proxies take.
    pub(super) async fn agree(&mut self, limit: Duration) -> Result<Option<Agreed>, AlwaysLate> {
        let mut start = Instant::now();
        let before = self.waited;
        let proxies = if limit.is_zero() { limit } else { waits::PROXIES_FOLLOW.limit };
        let mut direct = None;
        loop {
            let waited = self.waited - before;
            let sent = Instant::now() - waited;
            let round = self.round(&self.cells.clone()).await?;
            // An API server that was away for a while takes nothing from the engine's time.
            let took = sent.elapsed().saturating_sub(self.waited - before);
            start += took.saturating_sub(waits::PROBE_AT_MOST * 4);
            let wrong: Vec<_> = round.cells.iter().filter(|(cell, seen)| self.is_wrong(cell, seen)).collect();
            for (cell, seen) in &wrong {
                tracing::debug!(%cell, verdict = %seen.verdict, evidence = ?seen.evidence, after = ?start.elapsed(), "not yet");
            }
            let agrees = wrong.is_empty();
            let through_services = wrong.iter().all(|(cell, _)| cell.to.service().is_some());
            direct = through_services.then(|| direct.unwrap_or(sent));
            self.decided = round.cells;
            if let (true, Some(direct)) = (agrees, direct) {
                return Ok(Some(Agreed { all: sent, direct }));
            }
            let limit = if through_services { limit.max(proxies) } else { limit };
            if start.elapsed().saturating_sub(self.waited - before) >= limit {
                return Ok(None);
            }
        }
    }

    /// Samples for `window`; a cell that was wrong once stays wrong, by its first observation that tells of the engine.
    pub(super) async fn settle(&mut self, window: Duration) -> Result<(), AlwaysLate> {
        self.settling = true;
        let end = Instant::now() + window;
        let apart = waits::SETTLE_ROUNDS.max(window / 2);
        while Instant::now() < end {
            let due = self.due();
            if due.is_empty() {
                tokio::time::sleep_until(self.refused.map_or(end, |last| end.min(last + waits::REFUSALS_APART))).await;
                continue;
            }
            let next = Instant::now() + apart;
            let round = self.round(&due).await?;
            for (cell, seen) in round.cells {
                let decided = self.decided.get(&cell).map_or(Gravity::Fine, |decided| self.gravity(&cell, decided));
                if decided == Gravity::Fine || self.gravity(&cell, &seen) > decided {
                    self.decided.insert(cell, seen);
                }
            }
            tokio::time::sleep_until(next.min(end)).await;
        }
        Ok(())
    }

    /// One round that no agent spoiled, with its losses, and what could not be measured, probed a second time.
    async fn round(&mut self, cells: &BTreeMap<Cell, Route>) -> Result<Round, AlwaysLate> {
        let mut round = self.undelayed(cells, self.timeout).await?;
        self.rounds += 1;
        // In the network of a node a tuple may be in use by somebody else, such as a port of the kubelet's.
        let again = |(cell, seen): &(&Cell, &Observation)| {
            self.is_lost(cell, seen) || seen.verdict == Verdict::NotMeasured && self.is_wrong(cell, seen)
        };
        let lost = round.cells.iter().filter(again);
        let lost: BTreeMap<Cell, Route> =
            lost.filter_map(|(cell, _)| Some((cell.clone(), self.cells.get(cell)?.clone()))).collect();
        if !lost.is_empty() {
            // While the matrix has yet to agree there is a next round anyway.
            let longer =
                if self.settling { waits::PROBE_AT_MOST } else { (self.timeout * 2).min(waits::PROBE_AT_MOST) };
            let second = self.undelayed(&lost, longer).await?;
            for (cell, seen) in second.cells {
                let lost = self.expected.get(&cell).is_some_and(|expected| expected.allowed);
                if self.settling && lost && seen.verdict.satisfies(true) {
                    self.losses += 1;
                }
                round.cells.insert(cell, seen);
            }
        }
        Ok(round)
    }

    /// The cells of the settle window's next round: those that are scored. Of the others, mostly a pod's own, the report has what the
    /// agreeing round saw.
    fn due(&mut self) -> BTreeMap<Cell, Route> {
        let scored = |cell: &Cell| self.expected.get(cell).is_some_and(|expected| expected.scored);
        let mut cells = self.cells.clone();
        cells.retain(|cell, _| scored(cell));
        match self.refused {
            Some(last) if last.elapsed() < waits::REFUSALS_APART => {
                cells.retain(|_, route| !matches!(route.transport, Transport::RefusedUdp(_)));
            }
            _ => self.refused = Some(Instant::now()),
        }
        cells
    }

    async fn undelayed(&mut self, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Result<Round, AlwaysLate> {
        for _ in 0..waits::DISCARDS_IN_A_ROW {
            let round = sample(&self.world.members, cells, timeout).await;
            self.waited += round.waited;
            if round.late <= timeout / 4 {
                return Ok(round);
            }
            self.discarded += 1;
        }
        Err(AlwaysLate)
    }

    /// Whether an allowed cell got no answer.
    fn is_lost(&self, cell: &Cell, seen: &Observation) -> bool {
        self.expected.get(cell).is_some_and(|expected| expected.allowed && !seen.verdict.satisfies(true))
    }

    fn gravity(&self, cell: &Cell, seen: &Observation) -> Gravity {
        match (self.is_wrong(cell, seen), seen.verdict.is_measured()) {
            (false, _) => Gravity::Fine,
            (true, false) => Gravity::Unmeasured,
            (true, true) => Gravity::Wrong,
        }
    }

    /// Whether an asserted cell is not as expected.
    fn is_wrong(&self, cell: &Cell, seen: &Observation) -> bool {
        self.expected.get(cell).is_some_and(|expected| {
            expected.scored && self.profile.asserts(expected.level) && !seen.verdict.satisfies(expected.allowed)
        })
    }
}
