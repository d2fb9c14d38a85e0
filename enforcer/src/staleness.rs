//! How old what is known of each kind may be: for how long its watch has been broken (P29).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// After this long without a failure a watch has come about again, although nothing has happened that it could tell: attempts
/// fail or succeed sooner.
const CALM: Duration = Duration::from_secs(10);

/// Seconds without a watch, by kind. Clones are about the same watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staleness {
    watches: Arc<Mutex<BTreeMap<String, Watch>>>,
    /// What `/metrics` tells, brought up to date by [`Staleness::measure`].
    pub(crate) seconds: Family<Kind, Gauge>,
}

/// The label of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind(String);

impl EncodeLabelSet for Kind {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("kind", self.0.as_str())].encode(encoder)
    }
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    /// Since when what is known may be old.
    since: Option<Instant>,
    failed: Option<Instant>,
}

impl Staleness {
    /// A watch begins: nothing is known yet.
    pub(crate) fn begin(&self, kind: &str) {
        self.change(kind, |watch| watch.since = Some(Instant::now()));
    }

    /// The watch has told something.
    pub(crate) fn heard(&self, kind: &str) {
        self.change(kind, |watch| *watch = Watch { since: None, failed: None });
    }

    /// The watch broke, or an attempt to get it back did not succeed.
    pub(crate) fn broke(&self, kind: &str) {
        let now = Instant::now();
        self.change(kind, |watch| {
            *watch = Watch { since: watch.age(now).map(|age| now - age).or(Some(now)), failed: Some(now) }
        });
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self) {
        let now = Instant::now();
        for (kind, watch) in self.watches.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let age = watch.age(now).unwrap_or_default();
            self.seconds.get_or_create(&Kind(kind.clone())).set(age.as_secs() as i64);
        }
    }

    fn change(&self, kind: &str, change: impl FnOnce(&mut Watch)) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        change(watches.entry(kind.to_owned()).or_insert(Watch { since: None, failed: None }));
    }
}

impl Watch {
    /// How old what is known may be; none while the watch runs.
    fn age(self, now: Instant) -> Option<Duration> {
        let calm = self.failed.is_some_and(|failed| now.duration_since(failed) > CALM);
        self.since.filter(|_| !calm).map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_first_failure_until_something_is_heard_or_nothing_fails() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let running = Watch { since: None, failed: None };
        assert_eq!(running.age(after(100)), None);
        let begun = Watch { since: Some(start), failed: None };
        assert_eq!(begun.age(after(100)), Some(Duration::from_secs(100)), "nothing was ever heard");
        let broken = Watch { since: Some(start), failed: Some(after(60)) };
        assert_eq!(broken.age(after(65)), Some(Duration::from_secs(65)));
        assert_eq!(broken.age(after(71)), None, "the attempt after the last failure succeeded");
    }
}
