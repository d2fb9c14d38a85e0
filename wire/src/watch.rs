//! One path probed again and again until it opens or closes.

use serde::{Deserialize, Serialize};

use crate::{Probe, ProbeResult};

/// A path to probe until a probe ends as awaited: each probe on its way to the harness and back would take longer than most changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The first probe. Each of the others has the token that follows.
    pub probe: Probe,
    /// How many tokens it may use up.
    pub tokens: u32,
    /// Whether a reply is awaited, or a probe that ends without one.
    pub reply: bool,
    /// Milliseconds between the first two probes; each of the following times is longer by a quarter.
    pub every_ms: u32,
    /// The longest of these times in milliseconds.
    pub later_ms: u32,
    /// Milliseconds after which no further probe is sent.
    pub limit_ms: u32,
}

/// How a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The first probe that ended as awaited, or else the one that ended last.
    pub result: ProbeResult,
    /// Microseconds from reading the call to sending that probe.
    pub after_us: u64,
    /// Microseconds from sending that probe to this answer.
    pub ago_us: u64,
}
