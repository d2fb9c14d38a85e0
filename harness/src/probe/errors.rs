//! How many ICMP errors a receiver may be asked for.
//!
//! A Linux kernel sends six errors to one address at once, and then one a second (`net.ipv4.icmp_ratelimit`, and IPv6's like it). An error
//! that it keeps to itself looks like one that was dropped on its way. So probes that await one wait for their turn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Member;
use crate::plan::{Cell, PodRef, Route, Transport};

/// Errors that may be asked for at once: one less than a kernel sends.
const AT_ONCE: u32 = 5;
/// Time after which one more may be: a little more than a kernel takes.
const EVERY: Duration = Duration::from_millis(1020);
/// Errors that a step may have ahead of it: a round that agrees, one that settles, and one for a loss.
const A_STEP: u32 = 3;

/// What a prober may still ask of each address: the time at which all of it is there again.
#[derive(Debug, Default)]
pub(super) struct ErrorBudget(Mutex<BTreeMap<IpAddr, Instant>>);

impl ErrorBudget {
    /// Takes note of a probe that awaits an error, if it is one.
    pub(super) fn spend(&self, route: &Route) {
        if let Transport::RefusedUdp(_) = route.transport {
            let mut whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = whole.entry(route.to).or_insert(now);
            *at = (*at).max(now) + EVERY;
        }
    }

    /// When so many errors may be asked of an address.
    fn ready(&self, to: IpAddr, count: u32) -> Option<Instant> {
        let whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        whole.get(&to)?.checked_sub(EVERY * AT_ONCE.saturating_sub(count))
    }

    fn asked(&self) -> Vec<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// Waits until the receivers of these cells may send the errors that are awaited.
pub(super) async fn await_turn(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>) {
    let mut wanted: BTreeMap<(&PodRef, IpAddr), u32> = BTreeMap::new();
    for (cell, route) in cells.iter().filter(|(_, route)| matches!(route.transport, Transport::RefusedUdp(_))) {
        *wanted.entry((&cell.from, route.to)).or_default() += 1;
    }
    let turns = wanted.into_iter().filter_map(|((from, to), count)| members.get(from)?.errors.ready(to, count));
    if let Some(turn) = turns.max() {
        tokio::time::sleep_until(turn).await;
    }
}

/// Waits until every receiver may send the errors of a step, so that none of its rounds has to wait.
pub async fn rest(members: &BTreeMap<PodRef, Member>) {
    let ready = |member: &Member| {
        let errors = &member.errors;
        errors.asked().into_iter().filter_map(|to| errors.ready(to, A_STEP)).max()
    };
    if let Some(turn) = members.values().filter_map(ready).max() {
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_at_once_and_then_one_a_second() {
        let (budget, to) = (ErrorBudget::default(), IpAddr::from([10, 1, 1, 2]));
        let route = |transport| Route { to, transport, receivers: [].into() };
        let start = Instant::now();
        for _ in 0..9 {
            budget.spend(&route(Transport::Udp(9)));
        }
        assert_eq!(budget.ready(to, 1), None, "only errors count");
        for _ in 0..AT_ONCE {
            assert!(budget.ready(to, 1).is_none_or(|turn| turn <= start));
            budget.spend(&route(Transport::RefusedUdp(9)));
        }
        assert_eq!(budget.ready(to, 1), Some(start + EVERY));
        assert_eq!(budget.ready(to, 3), Some(start + EVERY * 3));
        tokio::time::advance(EVERY * 20).await;
        assert!(
            budget.ready(to, AT_ONCE).is_some_and(|turn| turn <= Instant::now()),
            "no more than so many are saved up"
        );
        assert_eq!(budget.ready(IpAddr::from([10, 1, 1, 3]), 1), None);
    }
}
