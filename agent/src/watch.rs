//! A path probed until it opens or closes, each probe with a fresh tuple.

use std::time::{Duration, Instant};

use netpol_wire::{Got, ProbeResult, Token, Watch, Watched};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::lag::Lag;
use crate::prober::{self, micros};

/// By how much each time between two probes is longer than the one before: most changes show at once, some take seconds.
const STRETCH: f64 = 1.25;

/// Probes until a probe ends as awaited, or none is under way any more; none where it may send none.
pub(crate) async fn watch(watch: Watch) -> Option<Watched> {
    let read = Instant::now();
    let lag = Lag::watch();
    let end = read + millis(watch.limit_ms);
    let (mut due, mut pause) = (read, millis(watch.every_ms));
    let (mut next, mut left) = (watch.probe, watch.tokens);
    let mut under_way = JoinSet::new();
    let mut last: Option<(Instant, ProbeResult)> = None;
    loop {
        tokio::select! {
            () = sleep_until(due.into()), if left > 0 && due < end => {
                let (probe, lag) = (next.clone(), lag.clone());
                under_way.spawn(async move { (Instant::now(), prober::send(&probe, &lag).await) });
                next.n = Token(next.n.0.wrapping_add(1));
                left -= 1;
                due = Instant::now() + pause;
                pause = pause.mul_f64(STRETCH).min(millis(watch.later_ms));
            }
            Some(ended) = under_way.join_next() => {
                let Ok((sent, result)) = ended else { continue };
                let awaited = is_awaited(result.got, watch.reply);
                last = Some((sent, result));
                if awaited {
                    break;
                }
            }
            else => break,
        }
    }
    let (sent, result) = last?;
    Some(Watched { result, after_us: micros(sent - read), ago_us: micros(sent.elapsed()) })
}

/// Whether a probe ended as awaited. One that could not be made says nothing of the path.
fn is_awaited(got: Got, reply: bool) -> bool {
    match got {
        Got::Reply => reply,
        Got::Timeout | Got::Rst | Got::Icmp => !reply,
        Got::NoRoute | Got::Error => false,
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}
