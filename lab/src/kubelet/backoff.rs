//! How long a container that ended waits before its next start: the kubelet's own figures.

use std::time::Duration;

/// The waits before restarts of one container.
#[derive(Debug, Clone)]
pub(super) struct BackOff {
    figures: Figures,
    next: Duration,
}

/// The figures of a back-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Wait before the second restart; the first is immediate, each later wait is twice as long.
    pub(super) first: Duration,
    /// Longest wait.
    pub(super) longest: Duration,
    /// A run of this length has recovered: its restart is immediate again.
    pub(super) recovered: Duration,
}

/// What Kubernetes does with containers, and with images that it cannot get.
pub(super) const KUBERNETES: Figures =
    Figures { first: Duration::from_secs(10), longest: Duration::from_secs(300), recovered: Duration::from_secs(600) };

/// For the enforcers that the lab itself keeps: a lab is up for minutes, and a node without its enforcer is not Ready.
pub(super) const ENFORCER: Figures =
    Figures { first: Duration::from_millis(500), longest: Duration::from_secs(10), recovered: Duration::from_secs(60) };

impl BackOff {
    /// A back-off before its first wait.
    pub(super) fn new(figures: Figures) -> BackOff {
        BackOff { figures, next: Duration::ZERO }
    }

    /// The wait after a run of this length.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= self.figures.recovered {
            self.next = Duration::ZERO;
        }
        let wait = self.next;
        self.next = (wait * 2).clamp(self.figures.first, self.figures.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_are_those_of_kubernetes() {
        let mut back_off = BackOff::new(KUBERNETES);
        let waits: Vec<u64> = (0..8).map(|_| back_off.after(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.after(Duration::from_secs(600)), Duration::ZERO, "it has recovered");
        assert_eq!(back_off.after(Duration::from_secs(1)).as_secs(), 10);
    }
}
