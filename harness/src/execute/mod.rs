//! Carrying out cases: act, wait for the barrier, agree, settle.

mod case;
mod control;
mod evidence;
mod followed_logs;
mod held;
mod settle;
mod step;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::plan::{Case, Level};
use crate::report::{CaseReport, Control, StepReport};
use crate::waits;

pub use case::{lacking, missing, not_begun, run_case, skipped};

/// Which levels a run asserts; the rest it reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What the specification says: core and extended.
    Conformance,
    /// Also level `stateful`: ping and established connections as Calico and the walkthrough show them.
    Full,
}

impl Profile {
    /// Whether an expectation of this level is asserted.
    pub fn asserts(self, level: Level) -> bool {
        match level {
            Level::Core | Level::Extended => true,
            Level::Stateful => self == Profile::Full,
            Level::Observed => false,
        }
    }
}

/// What all cases of a run share.
pub struct Context {
    /// The cluster.
    pub cluster: Cluster,
    /// Which levels are asserted.
    pub profile: Profile,
    /// A pause between steps, for people who watch.
    pub pace: Duration,
    /// Where news goes.
    pub news: mpsc::UnboundedSender<News>,
    /// How the target is named in a command that runs a case again.
    pub target: String,
    /// How long held connections are watched at least after a change: some engines cut late.
    pub hold_at_least: Duration,
    convergences: Mutex<VecDeque<Duration>>,
}

/// What has just happened.
pub enum News {
    /// A case has a world and begins.
    Began(Box<Case>),
    /// The positive control has passed.
    Control(Control),
    /// A step was judged.
    Step {
        /// The case's id.
        case: String,
        /// What it found.
        step: Box<StepReport>,
    },
    /// A case is over.
    Ended(Box<CaseReport>),
}

impl Context {
    /// What all cases of a run share.
    pub fn new(cluster: Cluster, profile: Profile, target: String, news: mpsc::UnboundedSender<News>) -> Self {
        let (pace, hold_at_least) = (Duration::ZERO, Duration::ZERO);
        Context { cluster, profile, pace, news, target, hold_at_least, convergences: Mutex::default() }
    }

    /// Remembers a convergence, and returns the slowest of the last [`waits::CONVERGENCES`] of this run.
    fn slowest_convergence(&self, this: Duration) -> Duration {
        let mut recent = self.convergences.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.truncate(waits::CONVERGENCES - 1);
        recent.push_front(this);
        recent.iter().max().copied().unwrap_or_default()
    }

    fn tell(&self, news: News) {
        // Nobody listens any more when the run was interrupted.
        self.news.send(news).ok();
    }
}
