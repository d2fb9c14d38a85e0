//! Connections that a case keeps open across its steps.

use std::collections::BTreeMap;
use std::time::Duration;

use netpol_wire::{Answer, Call, Held, HeldState, Hold as OpenHold, Token};

use super::Profile;
use crate::plan::{HeldOutcome, Hold, Transport};
use crate::report::{HeldReport, Status};
use crate::waits;
use crate::world::World;

/// The open connections of a case, by name.
#[derive(Default)]
pub(super) struct HeldConnections {
    open: BTreeMap<String, (Hold, Token)>,
}

/// The numbers of every held connection at one moment.
pub(super) type Readings = BTreeMap<String, Held>;

impl HeldConnections {
    /// Opens those that are due after step `after` (none: before the first).
    ///
    /// # Errors
    /// In words: which one could not be opened.
    pub(super) async fn open(&mut self, world: &World, holds: &[Hold], after: Option<usize>) -> Result<(), String> {
        for hold in holds.iter().filter(|hold| hold.after == after) {
            let cannot = |why: &str| format!("held connection '{}' could not be opened: {why}", hold.name);
            let Transport::Tcp(port) = hold.cell.traffic.transport else { return Err(cannot("it is not TCP")) };
            let receiver = hold.cell.to.pod().and_then(|pod| world.members.get(pod));
            let (Some(from), Some(to)) = (world.members.get(&hold.cell.from), receiver) else {
                return Err(cannot("one of its pods is not there"));
            };
            let address = hold.cell.traffic.pick(&to.bound.ips);
            let Some(address) = address else { return Err(cannot("its receiver has no address")) };
            let n = from.token();
            let call = Call::Hold(OpenHold {
                n,
                to: address,
                port,
                interval_ms: waits::HEARTBEAT.as_millis() as u32,
                timeout_ms: waits::PROBE_AT_MOST.as_millis() as u32,
            });
            let answers = from.session.ask(call).await.map_err(|error| cannot(&error.to_string()))?;
            match answers.first() {
                Some(Answer::Held(held)) if held.iter().any(|held| held.state == HeldState::Open) => {}
                other => return Err(cannot(&format!("the agent says {other:?}"))),
            }
            self.open.insert(hold.name.clone(), (hold.clone(), n));
        }
        Ok(())
    }

    /// The numbers now.
    pub(super) async fn read(&self, world: &World) -> Readings {
        let mut readings = Readings::new();
        for (name, (hold, token)) in &self.open {
            let Some(member) = world.members.get(&hold.cell.from) else { continue };
            let answers = member.session.ask(Call::Held(vec![*token])).await.unwrap_or_default();
            let mut held = answers.into_iter().flat_map(|answer| match answer {
                Answer::Held(held) => held,
                _ => Vec::new(),
            });
            if let Some(held) = held.find(|held| held.n == *token) {
                readings.insert(name.clone(), held);
            }
        }
        readings
    }

    /// Closes them.
    pub(super) async fn release(&self, world: &World) {
        for (hold, token) in self.open.values() {
            if let Some(member) = world.members.get(&hold.cell.from) {
                member.session.ask(Call::Release(vec![*token])).await.ok();
            }
        }
    }

    /// What became of one of them between two readings, which lie at least `window` apart.
    pub(super) fn judge(
        &self,
        name: &str,
        wanted: HeldOutcome,
        readings: (&Readings, &Readings),
        window: Duration,
        profile: Profile,
    ) -> Option<HeldReport> {
        let (hold, _) = self.open.get(name)?;
        let before = readings.0.get(name).map_or(0, |held| held.echoed);
        let after = readings.1.get(name);
        let echoed = after.map_or(0, |held| held.echoed.saturating_sub(before));
        let due = (window.as_millis() / waits::HEARTBEAT.as_millis()) as u64;
        // A third of the heartbeats that are due is life; TCP retransmits what a busy machine delays.
        // In a long window a connection that is cut late has echoed enough by then: it must not be silent at the end either.
        let silent = |held: &Held| held.silent_us > waits::HEARTBEAT_MISSED.as_micros() as u64;
        let alive = after.is_some_and(|held| held.state == HeldState::Open && !silent(held)) && echoed > due / 3;
        let (observed, known) = match after.map(|held| held.state) {
            _ if alive => ("survived", true),
            Some(HeldState::Open) if echoed == 0 => ("cut: open, and silent", true),
            Some(HeldState::Open) => ("halting", true),
            Some(HeldState::Reset) => ("cut: reset", true),
            Some(HeldState::Closed) => ("cut: closed", true),
            Some(HeldState::Refused | HeldState::Unknown) | None => ("unknown to its agent", false),
        };
        let asserted = wanted != HeldOutcome::Reported && profile.asserts(hold.level);
        let agrees = match wanted {
            HeldOutcome::Survives => alive,
            HeldOutcome::Cut => known && echoed == 0,
            HeldOutcome::Reported => true,
        };
        let status = match (agrees, known) {
            (true, _) => Status::Passed,
            (false, true) => Status::Failed,
            (false, false) => Status::NotMeasured,
        };
        Some(HeldReport {
            name: name.to_owned(),
            connection: format!("{} → {} {}", hold.cell.from, hold.cell.to, hold.cell.traffic),
            expected: format!("{wanted:?}").to_lowercase(),
            observed: observed.to_owned(),
            status,
            asserted,
            heartbeats: echoed,
            unanswered: after.map_or(0, |held| held.sent.saturating_sub(held.echoed)),
            longest_gap_ms: after.map_or(0.0, |held| held.longest_gap_us as f64 / 1000.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cell, Level, PodRef, Traffic};

    fn judged(echoed: u64, silent: Duration, window: Duration) -> HeldReport {
        let pod = |name: &str| PodRef { namespace: "n".into(), name: name.into() };
        let cell = Cell { from: pod("a"), to: pod("b").into(), traffic: Traffic::primary(Transport::Tcp(8888)) };
        let hold = Hold { name: "west".into(), cell, level: Level::Stateful, after: None };
        let held = HeldConnections { open: [("west".into(), (hold, Token(1)))].into() };
        let silent_us = silent.as_micros() as u64;
        let numbers = |echoed| Held {
            n: Token(1),
            state: HeldState::Open,
            sent: echoed,
            echoed,
            longest_gap_us: silent_us,
            silent_us,
        };
        let readings: (Readings, Readings) =
            ([("west".into(), numbers(10))].into(), [("west".into(), numbers(10 + echoed))].into());
        held.judge("west", HeldOutcome::Survives, (&readings.0, &readings.1), window, Profile::Full).unwrap()
    }

    #[test]
    fn a_connection_that_is_cut_late_in_a_long_window_has_not_survived() {
        assert_eq!(judged(700, Duration::from_millis(50), waits::SWEEP).status, Status::Passed);
        let cut_after_thirty_seconds = judged(600, Duration::from_secs(5), waits::SWEEP);
        assert_eq!(cut_after_thirty_seconds.status, Status::Failed);
        assert_eq!(cut_after_thirty_seconds.observed, "halting");
    }

    #[test]
    fn a_short_window_forgives_what_a_busy_machine_delays() {
        assert_eq!(judged(3, Duration::from_millis(150), waits::SETTLE_AT_LEAST).status, Status::Passed);
        assert_eq!(judged(2, Duration::from_millis(150), waits::SETTLE_AT_LEAST).status, Status::Failed);
    }
}
