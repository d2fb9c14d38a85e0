//! What the enforcer tells of itself.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::health::Report;
use crate::metrics::Metrics;

/// What `/status` tells, as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// The node that is enforced.
    pub node: String,
    /// Whether the kernel self-test passed.
    pub self_tested: bool,
    /// What the kernel lacks, each with what to do about it (P36).
    pub missing: Vec<String>,
    /// The kinds whose first list has not arrived yet.
    pub waiting_for: BTreeSet<&'static str>,
    /// Whether the policies of this node are in the kernel as they are known.
    pub programmed: bool,
    /// Committed transactions.
    pub transactions: u64,
    /// How often the kernel did not hold what it was thought to.
    pub repairs: u64,
    /// Transactions that the kernel refused.
    pub failures: u64,
    /// Why the last one was refused; none after one that was committed.
    pub last_error: Option<String>,
    /// The interfaces that lead out of the node; all others are pods'.
    pub uplinks: BTreeSet<String>,
    /// What of the node's pods cannot be policed, and why.
    pub unseen: Vec<String>,
    /// What of the node may make policies stricter than they are meant, and what to do about it.
    pub advice: Vec<String>,
    /// Policies that close the pods that they select, with the reasons.
    pub refused: Vec<RefusedPolicy>,
    /// What `/metrics` tells.
    #[serde(skip)]
    pub metrics: Metrics,
}

/// A policy that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedPolicy {
    /// Namespace and name.
    pub policy: String,
    /// The generation that was read.
    pub generation: i64,
    /// What is wrong in it, or not supported, each with its path.
    pub reasons: Vec<String>,
}

impl Report for Status {
    fn metrics(&self) -> Option<String> {
        Some(self.metrics.text())
    }

    fn not_ready(&self) -> Option<String> {
        if !self.missing.is_empty() {
            return Some(self.missing.join("; "));
        }
        if !self.self_tested {
            return Some("the kernel self-test has not passed yet".to_owned());
        }
        if !self.waiting_for.is_empty() {
            let kinds: Vec<_> = self.waiting_for.iter().copied().collect();
            return Some(format!("waiting for the first list of {}", kinds.join(", ")));
        }
        if let Some(error) = &self.last_error {
            return Some(format!("the last transaction failed: {error}"));
        }
        if !self.unseen.is_empty() {
            return Some(self.unseen.join("; "));
        }
        (!self.programmed).then(|| "the first transaction has not been committed yet".to_owned())
    }
}
