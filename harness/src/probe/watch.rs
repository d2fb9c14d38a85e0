//! One path, watched by its prober until it opens or closes.

use std::collections::BTreeMap;
use std::time::Duration;

use netpol_wire::{Answer, Call, Watch, Watched};
use tokio::time::Instant;

use super::asking::{Outgoing, Results, probe};
use super::round::gather;
use super::{Member, Observation};
use crate::plan::{Cell, PodRef, Route};
use crate::waits;

/// Tuples that a watch may take: more than it sends in [`waits::CANARY_WATCH`].
const TOKENS: u32 = 60;

/// Has the prober of a cell probe it until it opens or closes, for `limit` at most: the probe that showed it, or else the last one, with the
/// evidence of both ends.
///
/// # Errors
/// In words: why nobody watched.
pub async fn watch(
    members: &BTreeMap<PodRef, Member>,
    (cell, route): (&Cell, &Route),
    open: bool,
    limit: Duration,
) -> Result<Observation, String> {
    let from = members.get(&cell.from).ok_or_else(|| format!("{} is not there", cell.from))?;
    let first = probe(from.tokens(TOKENS), route.transport, route.to, waits::PROBE_AT_LEAST);
    let path = Watch {
        probe: first,
        tokens: TOKENS,
        reply: open,
        every_ms: waits::CANARY_INTERVAL.as_millis() as u32,
        later_ms: waits::CANARY_LATER.as_millis() as u32,
        limit_ms: limit.as_millis() as u32,
    };
    let asked = Instant::now();
    let watched = match from.ask(Call::Watch(path)).await?.pop() {
        Some(Answer::Watched(watched)) => watched,
        _ => return Err("the agent gave no result".to_owned()),
    };
    let sent = when(&watched, asked, Instant::now());
    let key = (cell.from.clone(), watched.result.n);
    let outgoing = Outgoing::of_one(cell.clone(), watched.result.n);
    let results = Results::from([(key, Ok(watched.result))]);
    let cells = BTreeMap::from([(cell.clone(), route.clone())]);
    let mut round = gather(members, &cells, (&outgoing, &results), (sent, waits::PROBE_AT_LEAST)).await;
    round.cells.remove(cell).ok_or_else(|| format!("{cell} was not judged"))
}

/// When a watch's probe was sent, by our clock: in the middle between what the call's way there and the answer's way back allow, as if
/// both had taken the same time.
fn when(watched: &Watched, asked: Instant, answered: Instant) -> Instant {
    let earliest = asked + Duration::from_micros(watched.after_us);
    let latest = answered.checked_sub(Duration::from_micros(watched.ago_us)).unwrap_or(earliest);
    earliest + latest.saturating_duration_since(earliest) / 2
}

#[cfg(test)]
mod tests {
    use netpol_wire::{Got, ProbeResult, Token};

    use super::*;

    #[test]
    fn a_probe_was_sent_between_the_call_and_its_answer() {
        let asked = Instant::now();
        let at = |ms| asked + Duration::from_millis(ms);
        let watched = |after: u64, ago: u64| {
            let result = ProbeResult {
                n: Token(7),
                got: Got::Reply,
                rtt_us: None,
                src_seen: None,
                late_us: 0,
                refused_by: None,
                detail: None,
            };
            Watched { result, after_us: after * 1000, ago_us: ago * 1000 }
        };
        assert_eq!(when(&watched(30, 10), asked, at(60)), at(40), "10 ms there, 10 ms back");
        assert_eq!(when(&watched(0, 0), asked, at(0)), asked);
        assert_eq!(when(&watched(30, 40), asked, at(60)), at(30), "clocks that do not agree to the microsecond");
    }
}
