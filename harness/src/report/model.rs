//! What a run found: a versioned type that `--output json` prints and `--report` writes.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::probe::Verdict;

/// The version of [`Report`].
pub const API_VERSION: &str = "netpol.dev/v1alpha1";

/// A whole run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `Report`.
    pub kind: &'static str,
    /// The run's id.
    pub run: String,
    /// The target as given.
    pub target: String,
    /// Which levels were asserted.
    pub profile: String,
    /// The network plugin that was found, with one of its pods.
    pub plugin: Option<String>,
    /// Whether the cluster followed any policy at all (N65); none if no world could be booted.
    pub enforced: Option<bool>,
    /// From the start of the target to the last verdict, in milliseconds.
    pub wall_ms: u64,
    /// In the order of their ids.
    pub cases: Vec<CaseReport>,
}

/// How a case, a step or a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The cluster lacks what the case needs; nothing was done.
    Skipped,
    /// This run's profile asserts nothing of it; what was seen is in the report.
    Reported,
    /// Everything asserted was as expected.
    Passed,
    /// It could not be measured: says nothing about the engine.
    NotMeasured,
    /// A verdict was wrong.
    Failed,
}

/// One case.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// `area/name`.
    pub id: String,
    /// The suite's file.
    pub file: String,
    /// One sentence.
    pub description: String,
    /// The rules it cites.
    pub rules: BTreeSet<String>,
    /// The worst of its steps.
    pub status: Status,
    /// Why it could not be measured, or what failed beside the cells.
    pub problems: Vec<String>,
    /// The logical namespaces' real names.
    pub namespaces: BTreeMap<String, String>,
    /// The positive control's round trips.
    pub control: Option<Control>,
    /// Its steps, as far as they were carried out.
    pub steps: Vec<StepReport>,
    /// Milliseconds, the wait for a world not included.
    pub took_ms: u64,
    /// Which of the repetitions this is, from 1.
    pub repetition: u32,
    /// What was looked up before the clean-up, if the case did not pass.
    pub evidence: Option<CaseEvidence>,
    /// Runs just this case again.
    pub replay: String,
}

/// What the cluster looked like when a case failed.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaseEvidence {
    /// The policies in the case's namespaces, as the API server has them, in the order of their names.
    pub policies: Vec<serde_json::Value>,
    /// By logical name.
    pub pods: BTreeMap<String, PodEvidence>,
    /// By `POD.CONTAINER` of the policy engine: the last lines of its log.
    pub engine_logs: BTreeMap<String, String>,
    /// By node, where the engine is ours: the rules that its kernel holds, as nft text, and its connections of the case's pods.
    pub kernels: BTreeMap<String, String>,
    /// What could not be looked up.
    pub missing: Vec<String>,
}

/// Where a pod was.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodEvidence {
    /// Its real namespace.
    pub namespace: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its node.
    pub node: String,
    /// The labels that it had.
    pub labels: BTreeMap<String, String>,
}

/// The positive control: everything is allowed before the first policy.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Cells that were allowed, all that are asserted among them.
    pub allowed: usize,
    /// Cells measured.
    pub cells: usize,
    /// 99th percentile of the round trips, in microseconds.
    pub rtt_p99_us: u64,
    /// The timeout of this case's probes that follows from it, in milliseconds.
    pub timeout_ms: u64,
    /// Cells that the network does not carry even without a policy, such as SCTP: neither passed nor failed.
    pub unsupported: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// The worst of what it asserted.
    pub status: Status,
    /// Every cell.
    pub cells: Vec<CellReport>,
    /// Held connections that the step asks about.
    pub held: Vec<HeldReport>,
    /// Logs that the step asks about.
    pub logs: Vec<LogReport>,
    /// What went wrong beside the cells.
    pub problems: Vec<StepProblem>,
    /// By node: milliseconds until its canary followed.
    pub canary_ms: BTreeMap<String, f64>,
    /// Milliseconds from the step's first action to the start of the first round that agreed; none if none did.
    pub agreed_after_ms: Option<f64>,
    /// Milliseconds for which the matrix was watched after that.
    pub settled_ms: f64,
    /// Rounds judged.
    pub rounds: u32,
    /// Rounds discarded because an agent was late.
    pub discarded: u32,
    /// Single losses on allowed cells that a second probe did not confirm.
    pub losses: u32,
}

/// Something that went wrong beside the cells.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepProblem {
    /// Whether it is the engine's failure or the environment's.
    pub status: Status,
    /// What went wrong, on what, and what to do.
    pub what: String,
}

/// One cell of a step's matrix.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellReport {
    /// The prober, by its logical name.
    pub from: String,
    /// The receiver, by its logical name.
    pub to: String,
    /// Such as `tcp/8888`.
    pub probe: String,
    /// The cell's level.
    pub level: &'static str,
    /// Whether this run's profile asserts it.
    pub asserted: bool,
    /// What the suite declares and the oracle computes.
    pub expected: Expectation,
    /// What was observed: the verdict that decided.
    pub observed: Verdict,
    /// Whether they agree.
    pub status: Status,
    /// The oracle's reason.
    pub reason: String,
    /// What both ends saw, where it did not agree.
    pub evidence: Option<String>,
}

/// Allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Expectation {
    /// The round trip must succeed.
    Allowed,
    /// It must be dropped or rejected (N49).
    Denied,
}

/// A held connection over a step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldReport {
    /// Its name.
    pub name: String,
    /// From whom to whom.
    pub connection: String,
    /// What the step asks.
    pub expected: String,
    /// `survived`, or how it ended.
    pub observed: String,
    /// Whether they agree.
    pub status: Status,
    /// Whether this run's profile asserts it.
    pub asserted: bool,
    /// Heartbeats that came back during the step.
    pub heartbeats: u64,
    /// Heartbeats sent and not come back at the end of the step.
    pub unanswered: u64,
    /// The longest silence since it was opened, in milliseconds.
    pub longest_gap_ms: f64,
}

/// A followed log over a step's settle window.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogReport {
    /// The pod.
    pub pod: String,
    /// What the step asks: `grows`, `unbroken`, `stops`, `heard` or `silent`.
    pub expected: String,
    /// New lines within the window; of logs that are heard or silent, all since the container began.
    pub lines: u64,
    /// Of a log that is to be unbroken: the longest time between two lines since before the step's actions, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_gap_ms: Option<f64>,
    /// Whether they agree.
    pub status: Status,
    /// Whether this run's profile asserts it.
    pub asserted: bool,
}

impl Report {
    /// The worst of its cases; a wrong verdict beats one that is missing.
    pub fn status(&self) -> Status {
        self.cases.iter().map(|case| case.status).max().unwrap_or(Status::Reported)
    }
}
