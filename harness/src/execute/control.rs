//! The positive control: before the first policy everything is allowed, and the round trips tell how long to wait for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Profile;
use crate::plan::{Cell, Matrix, OUTSIDE, PodRef, Transport};
use crate::probe::{Observation, sample};
use crate::report::Control;
use crate::waits;
use crate::world::World;

/// Rounds of a world's first control: the first one fills caches on the way, such as those of neighbours.
const FIRST_ROUNDS: u32 = 2;
/// Rounds of its later ones: that no policy of the case before is in force any more is shown by one round in which everything passes.
const LATER_ROUNDS: u32 = 1;
/// Further rounds where the round trips were long: a machine that was busy for a moment would make each denied cell of the case wait for a second.
const AGAIN: u32 = 2;

/// What to look at where pods reach each other and Services alone do not work.
const PROXY_HINT: &str = "; all of them go through Services: look at the nodes' proxy, such as by kubectl logs -n kube-system -l k8s-app=kube-proxy";

/// Samples until every asserted cell is allowed, in a world that is new in [`FIRST_ROUNDS`] rounds in a row.
///
/// # Errors
/// In words: which cells are not, and what both ends saw. Cells that a network need not carry are no error: they are given back as
/// unsupported.
pub(super) async fn control(
    world: &mut World,
    matrix: &Matrix,
    profile: Profile,
) -> Result<(Control, BTreeSet<Cell>), String> {
    let mut cells: BTreeMap<_, _> =
        matrix.iter().map(|(cell, expected)| (cell.clone(), expected.route.clone())).collect();
    let mut unsupported: BTreeSet<Cell> = BTreeSet::new();
    let start = Instant::now();
    let mut round_trips: Vec<Duration> = Vec::new();
    // Engines may still be at the policies of the case before: what these deny is not waited for long.
    let (rounds, mut timeout) = match world.controlled {
        true => (LATER_ROUNDS, waits::PROBE_AT_LEAST),
        false => (FIRST_ROUNDS, waits::PROBE_AT_MOST),
    };
    let (mut good, mut calmest) = (0, Duration::MAX);
    loop {
        let round = sample(&world.members, &cells, timeout).await;
        let wrong = |(cell, seen): &(&_, &Observation)| {
            matrix.get(cell).is_some_and(|expected| expected.scored && profile.asserts(expected.level))
                && !seen.verdict.satisfies(true)
        };
        let missing: Vec<_> = round.cells.iter().filter(wrong).collect();
        if missing.is_empty() {
            good += 1;
            round_trips.extend(round.cells.values().filter_map(|seen| seen.rtt));
        } else {
            good = 0;
            round_trips.clear();
            timeout = (timeout * 2).min(waits::PROBE_AT_MOST);
        }
        if good >= rounds {
            calmest = calmest.min(percentile_99(&mut round_trips));
            round_trips.clear();
            if waits::probe_timeout(calmest) > waits::PROBE_CALM && good < rounds + AGAIN {
                continue;
            }
            world.controlled = true;
            let control = Control {
                allowed: round.cells.values().filter(|seen| seen.verdict.satisfies(true)).count(),
                cells: cells.len(),
                rtt_p99_us: calmest.as_micros() as u64,
                timeout_ms: waits::probe_timeout(calmest).as_millis() as u64,
                unsupported: unsupported.iter().map(ToString::to_string).collect(),
            };
            return Ok((control, unsupported));
        }
        let optional = |(cell, seen): &(&Cell, &Observation)| is_optional(world, cell, seen);
        if start.elapsed() > waits::OPTIONAL_PASSES.limit && missing.iter().all(optional) {
            unsupported.extend(missing.iter().map(|(cell, _)| (*cell).clone()));
            cells.retain(|cell, _| !unsupported.contains(cell));
            continue;
        }
        let through_services = missing.iter().all(|(cell, _)| cell.to.service().is_some());
        let wait = if through_services { waits::PROXIES_FOLLOW } else { waits::CONTROL_PASSES };
        if start.elapsed() > wait.limit {
            let shown = missing.iter().take(4).map(|(cell, seen)| {
                let detail = seen.evidence.detail.as_deref().unwrap_or("no detail");
                format!("{} → {} {} {} ({detail})", cell.from, cell.to, cell.traffic, seen.verdict)
            });
            return Err(format!(
                "positive control: {} of {} cells are not allowed although no policy is there (N1), for {wait}: {}{}",
                missing.len(),
                cells.len(),
                shown.collect::<Vec<_>>().join("; "),
                if through_services { PROXY_HINT } else { "" }
            ));
        }
    }
}

/// Whether a network may be unable to carry a cell without any policy: SCTP (N46), fragments and ICMP errors, which some lose, and
/// what lies outside the cluster.
fn is_optional(world: &World, cell: &Cell, seen: &Observation) -> bool {
    let outside = |pod: &PodRef| world.topology.slots.get(pod).is_some_and(|slot| slot == OUTSIDE);
    let lossy = match cell.traffic.transport {
        Transport::Sctp(_) => true,
        // That somebody listens, or nobody echoes, is no network's fault.
        Transport::RefusedUdp(_) | Transport::FragmentedUdp(_) => seen.verdict.is_measured(),
        Transport::Tcp(_) | Transport::Udp(_) | Transport::Icmp => false,
    };
    lossy || outside(&cell.from) || cell.to.pod().is_some_and(outside)
}

fn percentile_99(round_trips: &mut [Duration]) -> Duration {
    round_trips.sort();
    let index = (round_trips.len() * 99).div_ceil(100).saturating_sub(1);
    round_trips.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_the_nearest_rank() {
        let mut hundred: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile_99(&mut hundred), Duration::from_micros(99));
        assert_eq!(percentile_99(&mut [Duration::from_micros(7)]), Duration::from_micros(7));
        assert_eq!(percentile_99(&mut []), Duration::ZERO);
    }
}
