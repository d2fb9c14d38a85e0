//! How late this agent's own event loop runs.
//!
//! A starved agent sends late, notices replies late, and may take a timer for a timeout. While probes are under way a
//! ticker wakes every few milliseconds and takes note of by how much it overslept; whatever held up the loop (no
//! processor, a stopped process, too much work) held up the ticker too. The worst delay since the call was read goes into
//! [`netpol_wire::ProbeResult::late_us`]. Timers have a resolution of a millisecond, so about that much is normal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the ticker wakes: a delay is measured to within this.
const EVERY: Duration = Duration::from_millis(10);

/// Measures the delays of the event loop for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Lag(Mutex<Ticks>);

#[derive(Debug)]
struct Ticks {
    due: Instant,
    worst: Duration,
}

impl Lag {
    /// Starts to measure on the current runtime.
    pub(crate) fn watch() -> Arc<Self> {
        let lag = Arc::new(Self(Mutex::new(Ticks { due: Instant::now() + EVERY, worst: Duration::ZERO })));
        let watched = Arc::downgrade(&lag);
        tokio::spawn(async move {
            loop {
                let Some(due) = watched.upgrade().map(|lag| lag.ticks().due) else { return };
                tokio::time::sleep_until(due.into()).await;
                let Some(lag) = watched.upgrade() else { return };
                let mut ticks = lag.ticks();
                let now = Instant::now();
                ticks.worst = ticks.worst.max(now - due);
                ticks.due = now + EVERY;
            }
        });
        lag
    }

    /// The longest delay so far, one that has not ended yet included.
    pub(crate) fn worst(&self) -> Duration {
        let ticks = self.ticks();
        ticks.worst.max(Instant::now().saturating_duration_since(ticks.due))
    }

    fn ticks(&self) -> std::sync::MutexGuard<'_, Ticks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_loop_is_late_and_an_idle_one_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let lag = Lag::watch();
            std::thread::sleep(Duration::from_millis(100));
            let before_the_tick = lag.worst();
            assert!(before_the_tick >= Duration::from_millis(70), "{before_the_tick:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(lag.worst() >= Duration::from_millis(70), "it is remembered");
            let calm = Lag::watch();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(calm.worst() < lag.worst(), "{:?}", calm.worst());
        });
    }
}
