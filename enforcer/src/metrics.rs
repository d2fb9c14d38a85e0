//! `/metrics`: what the enforcer measures of itself, for Prometheus.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::staleness::Staleness;

/// The enforcer's metrics. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Policies that are known.
    pub policies: Gauge,
    /// Policies that close the pods that they select.
    pub refused: Gauge,
    /// Pods of this node that are policed.
    pub local_pods: Gauge,
    /// Elements of dispatch maps and peer sets that are pods' addresses.
    pub elements: Gauge,
    /// Committed transactions.
    pub transactions: Counter,
    /// Transactions that the kernel refused.
    pub failures: Counter,
    /// Seconds from a ruleset to the kernel's answer.
    pub transaction_time: Histogram,
    /// Seconds from a change that arrived here to the commit of what it changed.
    pub event_to_kernel: Histogram,
    /// Times that the kernel did not hold what we had written.
    pub repairs: Counter,
    /// Connections of gone pods that the kernel was made to forget.
    pub conntrack_deletions: Counter,
    /// For how long the watch of each kind has been broken.
    pub(crate) staleness: Staleness,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 100 µs to 1.6 s: what is promised, 5 ms and 25 ms, lies within.
        let times = || Histogram::new(exponential_buckets(0.0001, 2.0, 15));
        let mut metrics = Self {
            registry: Arc::default(),
            policies: Gauge::default(),
            refused: Gauge::default(),
            local_pods: Gauge::default(),
            elements: Gauge::default(),
            transactions: Counter::default(),
            failures: Counter::default(),
            transaction_time: times(),
            event_to_kernel: times(),
            repairs: Counter::default(),
            conntrack_deletions: Counter::default(),
            staleness: Staleness::default(),
        };
        let mut registry = Registry::with_prefix("netpol");
        registry.register("policies", "Policies that are known", metrics.policies.clone());
        registry.register("refused_policies", "Policies that are not understood", metrics.refused.clone());
        registry.register("local_pods", "Pods of this node that are policed", metrics.local_pods.clone());
        registry.register(
            "elements",
            "Elements of dispatch maps and peer sets that are addresses of pods",
            metrics.elements.clone(),
        );
        registry.register("transactions", "Committed transactions", metrics.transactions.clone());
        registry.register("transaction_failures", "Transactions that the kernel refused", metrics.failures.clone());
        registry.register_with_unit(
            "transaction_time",
            "From a ruleset to the kernel's answer",
            Unit::Seconds,
            metrics.transaction_time.clone(),
        );
        registry.register_with_unit(
            "event_to_kernel",
            "From the arrival of a change to the commit of what it changed",
            Unit::Seconds,
            metrics.event_to_kernel.clone(),
        );
        registry.register("repairs", "Times that the kernel did not hold what was written", metrics.repairs.clone());
        registry.register(
            "conntrack_deletions",
            "Connections of gone pods that the kernel was made to forget",
            metrics.conntrack_deletions.clone(),
        );
        registry.register_with_unit(
            "watch_staleness",
            "For how long the watch of a kind has been broken; 0 while it runs",
            Unit::Seconds,
            metrics.staleness.seconds.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    /// All of them in the text format of OpenMetrics, which Prometheus reads.
    pub fn text(&self) -> String {
        self.staleness.measure();
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            unreachable!("writing to a string cannot fail");
        }
        text
    }
}
