//! What is known, and the way from there into the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use crate::apply::{Desired, Kernel};
use crate::compile::{self, Incremental, Site};
use crate::connections::Connections;
use crate::diff::Delta;
use crate::events::Events;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::stages::Stages;
use crate::status::Status;
use crate::unseen::Unseen;
use crate::uplinks::Uplinks;
use crate::world::{self, Change, ObjectKey, World};

/// The kinds whose first list has to arrive before anything is enforced (P28).
pub(crate) const KINDS: [&str; 3] = ["namespaces", "networkpolicies", "pods"];

/// The enforcer of a node, between what it hears and the kernel.
pub(crate) struct Enforcer<'a> {
    stages: &'a dyn Stages,
    pub(crate) kernel: Option<Kernel>,
    /// None in a dry run.
    connections: Option<Connections>,
    pub(crate) known: Known,
    waiting_for: BTreeSet<&'static str>,
    pub(crate) failed: bool,
    pub(crate) reported: BTreeSet<(ObjectKey, String, i64)>,
    pub(crate) unseen: Unseen,
    pub(crate) told_of_node: (Vec<String>, Vec<String>),
    pub(crate) health: Health<Status>,
    pub(crate) metrics: Metrics,
    /// Where refused policies are told; not in a dry run.
    pub(crate) events: Option<Events>,
    /// When the changes arrived that are being taken in.
    pub(crate) heard: Option<Instant>,
}

/// What is known of the cluster.
pub(crate) enum Known {
    /// Not every kind was listed yet.
    Some {
        world: World,
        site: Site,
        /// The closed skeleton is ours, to be kept in step with the uplinks meanwhile.
        skeleton: bool,
    },
    /// Everything.
    All(Box<Incremental>),
}

impl<'a> Enforcer<'a> {
    /// Tests the kernel, and closes the pods' interfaces if nobody has programmed them before (P41). A table that is there
    /// stays as it is until everything is known (P27).
    pub(crate) fn start(
        site: Site,
        stages: &'a dyn Stages,
        health: Health<Status>,
        events: Option<Events>,
    ) -> anyhow::Result<Self> {
        let mut kernel = events.is_some().then(Kernel::open).transpose()?;
        let connections =
            events.is_some().then(|| Connections::open(health.status().metrics.conntrack_deletions)).transpose()?;
        let mut skeleton = false;
        if let Some(kernel) = &mut kernel {
            skeleton = !kernel.has_table(compile::TABLE)?;
        }
        let mut enforcer = Self {
            stages,
            kernel,
            connections,
            known: Known::Some { world: World::default(), site, skeleton },
            waiting_for: KINDS.into(),
            failed: false,
            reported: BTreeSet::new(),
            unseen: Unseen::default(),
            told_of_node: Default::default(),
            metrics: health.status().metrics,
            health,
            events,
            heard: None,
        };
        enforcer.program(&Delta::default());
        Ok(enforcer)
    }

    /// Takes changes in, and brings the kernel up to date if that makes a difference.
    pub(crate) fn take(&mut self, changes: Vec<Change>) {
        for change in &changes {
            match change {
                Change::Namespaces(world::Delta::All(_)) => self.waiting_for.remove("namespaces"),
                Change::Policies(world::Delta::All(_)) => self.waiting_for.remove("networkpolicies"),
                Change::Pods(world::Delta::All(_)) => self.waiting_for.remove("pods"),
                _ => false,
            };
        }
        let policies = changes.iter().any(|change| matches!(change, Change::Policies(_)));
        match &mut self.known {
            Known::All(compiled) => {
                let update = compiled.update(changes);
                if !update.delta.is_empty() {
                    self.program(&update.delta);
                }
                // Their addresses are closed by now, or somebody else's.
                if let Some(connections) = &self.connections {
                    connections.forget(update.departed);
                }
            }
            Known::Some { world, site, skeleton: _ } => {
                changes.into_iter().for_each(|change| drop(world.apply(change)));
                self.health.update(|status| status.waiting_for = self.waiting_for.clone());
                if self.waiting_for.is_empty() {
                    let compiled = Incremental::new(std::mem::take(world), site.clone());
                    let left = self.left_behind(&compiled);
                    self.known = Known::All(Box::new(compiled));
                    self.program(&Delta::default());
                    self.connections.iter().for_each(|connections| connections.forget(left.clone()));
                }
            }
        }
        if policies {
            self.report_refused();
        }
    }

    /// The addresses of pods that went while no enforcer ran: those that the table of the one before still has (P16).
    fn left_behind(&mut self, compiled: &Incremental) -> BTreeSet<IpAddr> {
        match self.kernel.as_mut().map(|kernel| kernel.held(compile::TABLE)) {
            Some(Ok(Some(held))) => compiled.left_behind(&held),
            // What cannot be read is replaced with the first transaction, which says so.
            Some(Ok(None) | Err(_)) | None => BTreeSet::new(),
        }
    }

    pub(crate) fn set_uplinks(&mut self, uplinks: Uplinks) {
        let delta = match &mut self.known {
            Known::All(compiled) => compiled.set_uplinks(uplinks),
            Known::Some { site, .. } => {
                site.uplinks = uplinks;
                Delta::default()
            }
        };
        if !delta.is_empty() || matches!(self.known, Known::Some { .. }) {
            self.program(&delta);
        }
    }

    /// Compares what the kernel holds with what it should, and sets it right.
    pub(crate) fn inspect(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        kernel.forget();
        let repairs = self.program(&Delta::default());
        if repairs > 0 {
            tracing::error!(operations = repairs, "the table did not hold what it should; it is repaired");
            self.metrics.repairs.inc();
            self.health.update(|status| status.repairs += 1);
        }
    }

    /// Brings the kernel up to date: with the world once it is known, with the skeleton until then if that is ours.
    /// Returns how many operations that took.
    pub(crate) fn program(&mut self, delta: &Delta) -> usize {
        let Some(kernel) = &mut self.kernel else { return 0 };
        let (applied, synced) = match &self.known {
            Known::All(compiled) => {
                let distorted = self.stages.compile(compiled.world(), compiled.site());
                let desired = distorted.map_or_else(|| Desired::Change(compiled, delta), Desired::Ruleset);
                (self.stages.apply(kernel, desired), true)
            }
            Known::Some { site, skeleton: true, .. } => (kernel.apply(compile::skeleton(site)), false),
            Known::Some { .. } => return 0,
        };
        let (world, site) = self.known.parts();
        self.failed = applied.is_err();
        let operations = applied.as_ref().map_or(0, |applied| applied.operations);
        match applied {
            Ok(applied) => {
                if applied.operations > 0 {
                    tracing::info!(
                        operations = applied.operations,
                        replaced = applied.replaced,
                        repaired = applied.repaired,
                        took_us = applied.took.as_micros(),
                        policies = world.policies.len(),
                        pods = world.pods.len(),
                        "{}",
                        if synced { "policies are in force" } else { "pods are closed until the cluster is known" },
                    );
                }
                let metrics = &self.metrics;
                if applied.operations > 0 {
                    metrics.transactions.inc();
                    metrics.transaction_time.observe(applied.took.as_secs_f64());
                    self.heard.iter().for_each(|heard| metrics.event_to_kernel.observe(heard.elapsed().as_secs_f64()));
                }
                metrics.repairs.inc_by(applied.repaired.into());
                if let Known::All(compiled) = &self.known {
                    metrics.local_pods.set(compiled.local_pods().count() as i64);
                    metrics.elements.set(compiled.members() as i64);
                }
                self.health.update(|status| {
                    status.transactions += u64::from(applied.operations > 0);
                    status.repairs += u64::from(applied.repaired);
                    status.programmed = synced;
                    status.last_error = None;
                    status.uplinks = site.uplinks.clone();
                });
            }
            Err(error) => {
                tracing::error!(%error, "what was in force before still is");
                self.metrics.failures.inc();
                self.health.update(|status| {
                    status.failures += 1;
                    status.programmed = false;
                    status.last_error = Some(error.to_string());
                });
            }
        }
        operations
    }
}

impl Known {
    pub(crate) fn parts(&self) -> (&World, &Site) {
        match self {
            Self::Some { world, site, .. } => (world, site),
            Self::All(compiled) => (compiled.world(), compiled.site()),
        }
    }
}
