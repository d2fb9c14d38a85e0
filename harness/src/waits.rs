//! Every wait of the harness, by name, with whether the specification bounds it.

use std::fmt;
use std::time::Duration;

/// A wait with a limit.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// What is waited for, as messages say it.
    pub name: &'static str,
    /// How long at most.
    pub limit: Duration,
    /// What the specification says of it.
    pub bound: &'static str,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s ({})", self.limit.as_secs_f32(), self.name)
    }
}

const NOT_SPECIFIED: &str = "the specification does not bound it";

/// An agent's hello, and its answer to a call beyond the probes' own timeout.
pub const AGENT_ANSWERS: Wait = Wait { name: "agent answers", limit: Duration::from_secs(10), bound: NOT_SPECIFIED };
/// Time between two signs of life to an agent that owes an answer: by them a stream that is gone is noticed. Longer than most calls take:
/// each sign is a message through as many processes as a call.
pub const AGENT_PULSE: Duration = Duration::from_secs(1);
/// A stream to an agent that owes an answer carries something: one that does not is opened anew.
pub const AGENT_STREAM_SILENT: Wait =
    Wait { name: "a stream carries something", limit: Duration::from_secs(5), bound: NOT_SPECIFIED };
/// A broken stream to an agent comes back.
pub const AGENT_RECONNECTS: Wait =
    Wait { name: "agent reconnects", limit: Duration::from_secs(30), bound: NOT_SPECIFIED };
/// An API server that restarts or is too busy answers again.
pub const API_RETURNS: Wait = Wait { name: "API server returns", limit: Duration::from_secs(30), bound: NOT_SPECIFIED };
/// Pods that were created are Running.
pub const PODS_RUN: Wait = Wait { name: "pods run", limit: Duration::from_secs(120), bound: NOT_SPECIFIED };
/// Pods and namespaces that were deleted are gone.
pub const OBJECTS_GONE: Wait = Wait { name: "objects are gone", limit: Duration::from_secs(90), bound: NOT_SPECIFIED };
/// Before the first policy everything is allowed.
pub const CONTROL_PASSES: Wait =
    Wait { name: "positive control passes", limit: Duration::from_secs(10), bound: "N1: no policy, no restriction" };
/// What a network need not carry, such as SCTP, is allowed before the first policy; otherwise it is unsupported.
pub const OPTIONAL_PASSES: Wait =
    Wait { name: "optional protocols pass", limit: Duration::from_secs(3), bound: "N46: SCTP is optional" };
/// The canary of every node follows a flip.
pub const CANARY_FOLLOWS: Wait =
    Wait { name: "canary follows", limit: Duration::from_secs(10), bound: "N58: in time, without a figure" };
/// After the canary the whole matrix agrees.
pub const MATRIX_AGREES: Wait =
    Wait { name: "matrix agrees", limit: Duration::from_secs(5), bound: "N58: in time, without a figure" };
/// Where nothing else is wrong, cells through Services agree as well: the controllers and the proxies of a busy cluster take seconds for a
/// changed backend, and no policy engine has a part in that.
pub const PROXIES_FOLLOW: Wait =
    Wait { name: "the nodes' proxies follow", limit: Duration::from_secs(30), bound: NOT_SPECIFIED };
/// A log that must grow shows a line: a client whose requests were dropped notices only when its current one times out.
pub const LOG_GROWS: Wait = Wait { name: "log grows", limit: Duration::from_secs(5), bound: NOT_SPECIFIED };
/// The nodes of a new cluster are Ready.
pub const NODES_READY: Wait = Wait { name: "nodes are Ready", limit: Duration::from_secs(180), bound: NOT_SPECIFIED };
/// The pods of a CNI that was just installed are Ready; their images may have to be pulled.
pub const CNI_READY: Wait =
    Wait { name: "the CNI's pods are Ready", limit: Duration::from_secs(300), bound: NOT_SPECIFIED };
/// An image that a node failed to pull is pulled after all.
pub const IMAGE_PULLS: Wait = Wait { name: "images are pulled", limit: Duration::from_secs(45), bound: NOT_SPECIFIED };
/// An API server that has only just come up takes an object.
pub const OBJECT_APPLIES: Wait = Wait { name: "objects apply", limit: Duration::from_secs(30), bound: NOT_SPECIFIED };
/// Evidence of a failure is gathered.
pub const EVIDENCE: Wait = Wait { name: "evidence is gathered", limit: Duration::from_secs(90), bound: NOT_SPECIFIED };
/// A tool that was told to end has ended.
pub const TOOL_STOPS: Wait = Wait { name: "a tool ends", limit: Duration::from_secs(10), bound: NOT_SPECIFIED };
/// The shortest time for which an agreed matrix must hold.
pub const SETTLE_AT_LEAST: Duration = Duration::from_millis(300);
/// How many convergences count as recent: those of about ten steps. A single slow one, while pods were starting, is no measure of the engine
/// for the rest of a run.
pub const CONVERGENCES: usize = 32;
/// The time between the beginnings of two rounds while a matrix settles, at least: a round without denied cells is over within
/// milliseconds, and dozens of them would only take the processor from the cases beside it. In long windows it is half of them.
pub const SETTLE_ROUNDS: Duration = PROBE_AT_LEAST;
/// The shortest timeout of a probe.
pub const PROBE_AT_LEAST: Duration = Duration::from_millis(150);
/// The longest timeout of a probe, and the one of a world's first positive control, which measures the round trips; later ones begin with the
/// shortest, twice as long in each round that does not pass.
pub const PROBE_AT_MOST: Duration = Duration::from_secs(1);
/// How long a canary's agent probes before it says that nothing has changed yet.
pub const CANARY_WATCH: Duration = Duration::from_secs(1);
/// A timeout up to which a control's round trips are not measured again.
pub const PROBE_CALM: Duration = Duration::from_millis(300);
/// Time between the first two probes of one canary; each of the following times is longer by a quarter, up to [`CANARY_LATER`].
pub const CANARY_INTERVAL: Duration = Duration::from_millis(5);
/// The longest time between two probes of one canary: to within this the time of a change is known.
pub const CANARY_LATER: Duration = Duration::from_millis(25);
/// Time between two rounds of a settle window that have the cells that await ICMP errors: a kernel sends one a second to an address.
pub const REFUSALS_APART: Duration = Duration::from_secs(1);
/// The longest time between two lines of a log that is unbroken: two requests in a row were lost, as with probes.
pub const LOG_BREAKS: Duration = Duration::from_secs(1);
/// Rounds that may be discarded in a row, because an agent was late, before the step counts as not measured.
pub const DISCARDS_IN_A_ROW: u32 = 20;
/// Time between two heartbeats of a held connection.
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// The longest silence of a held connection that counts as alive: TCP repeats a lost heartbeat twice in this time.
pub const HEARTBEAT_MISSED: Duration = Duration::from_secs(1);
/// How long held connections are watched on an engine that we do not know: some sweep them every 30 s.
pub const SWEEP: Duration = Duration::from_secs(35);

/// Waits that a suite may name in a step's `wait:`.
pub const NAMED: &[Wait] = &[CANARY_FOLLOWS];

/// The timeout of probes: 20 × the 99th percentile of the positive control's round trips, within its bounds.
pub fn probe_timeout(p99: Duration) -> Duration {
    (p99 * 20).clamp(PROBE_AT_LEAST, PROBE_AT_MOST)
}

/// How long an agreed matrix must hold: twice the slowest recent convergence of this run, 300 ms at least.
pub fn settle_window(slowest: Duration) -> Duration {
    (slowest * 2).max(SETTLE_AT_LEAST)
}
