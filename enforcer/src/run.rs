//! The loop: what the API server and the node's routes tell goes into the world, the world into the kernel.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{FutureExt, StreamExt};
use netpol_nft::Table;

use crate::apply::{Desired, Kernel};
use crate::cli::EnforcerArgs;
use crate::compile::{self, Incremental, Site};
use crate::connections::Connections;
use crate::damage::Damage;
use crate::diff::Delta;
use crate::events::{Events, Refusal};
use crate::health::{self, Health};
use crate::metrics::Metrics;
use crate::stages::{Product, Stages};
use crate::status::{RefusedPolicy, Status};
use crate::until_stopped::until_stopped;
use crate::uplinks::{self, Links, Uplinks};
use crate::world::{self, Change, ObjectKey, World};
use crate::{dry_run, selftest, unseen, watch};

/// How long to wait after a transaction that failed before it is tried again unasked.
const RETRY_TRANSACTION: Duration = Duration::from_secs(1);

/// Runs `netpol enforcer …` on a runtime of its own, until SIGTERM or SIGINT. The rules stay.
///
/// # Errors
/// The kubeconfig cannot be read, the port of `/readyz` is taken, or the kernel lacks something that enforcement needs.
pub fn run(args: EnforcerArgs) -> anyhow::Result<ExitCode> {
    run_with(args, &Product)
}

/// Runs the enforcer with other stages between the world and the kernel.
pub fn run_with(args: EnforcerArgs, stages: &dyn Stages) -> anyhow::Result<ExitCode> {
    until_stopped("the rules stay in force", enforce(args, stages))
}

async fn enforce(args: EnforcerArgs, stages: &dyn Stages) -> anyhow::Result<ExitCode> {
    let EnforcerArgs { server, node, health_port, dry_run, filename, pod_to_own_node: own_node } = args;
    if !filename.is_empty() {
        let uplinks = uplinks::follow().await?.borrow().uplinks.clone();
        print!("{}", dry_run::ruleset(&filename, &Site { node, uplinks, own_node })?);
        return Ok(ExitCode::SUCCESS);
    }
    let health = Health::<Status>::default();
    health.update(|status| {
        status.node = node.clone();
        status.waiting_for = KINDS.into();
    });
    if !dry_run {
        let address = health::serve(health_port, health.clone())
            .await
            .with_context(|| format!("cannot listen on 127.0.0.1:{health_port}; choose another --health-port"))?;
        tracing::info!(%node, %address, "enforcer started");
    }
    let client = server.client().await?;
    let mut links = uplinks::follow().await?;
    let site = Site { node, uplinks: links.borrow_and_update().uplinks.clone(), own_node };
    if !dry_run {
        selftest::passed(&health).await;
    }
    let events = (!dry_run).then(|| Events::start(client.clone(), site.node.clone()));
    let mut enforcer = Enforcer::start(site, stages, health, events)?;
    let mut changes = watch::changes(&client);
    let mut damage = None;
    loop {
        tokio::select! {
            change = changes.next() => {
                let mut arrived = vec![change.context("the watch of the API server ended")?];
                // What else has arrived meanwhile goes into the same transaction.
                while arrived.len() < LARGEST_BATCH
                    && let Some(Some(change)) = changes.next().now_or_never()
                {
                    arrived.push(change);
                }
                enforcer.heard = Some(Instant::now());
                enforcer.take(arrived);
                enforcer.heard = None;
            }
            known = links.changed() => {
                known.context("nobody follows the node's routes any more")?;
                enforcer.set_uplinks(links.borrow_and_update().uplinks.clone());
            }
            () = tokio::time::sleep(RETRY_TRANSACTION), if enforcer.failed => drop(enforcer.program(&Delta::default())),
            () = suspected(&mut damage) => enforcer.inspect(),
        }
        if damage.is_none()
            && let (Some(kernel), Known::All(_)) = (&enforcer.kernel, &enforcer.known)
        {
            // Not before the first transaction, whose news would be as long as itself.
            damage = Some(Damage::watch(Table::inet(compile::TABLE), kernel.port()?)?);
        }
        if dry_run && let Known::All(compiled) = &enforcer.known {
            let distorted = stages.compile(compiled.world(), compiled.site());
            print!("{}", distorted.unwrap_or_else(|| compiled.ruleset()));
            return Ok(ExitCode::SUCCESS);
        }
        enforcer.report_unseen(&links.borrow());
    }
}

async fn suspected(damage: &mut Option<Damage>) {
    match damage {
        Some(damage) => damage.suspected().await,
        None => std::future::pending().await,
    }
}

/// The kinds whose first list has to arrive before anything is enforced (P28).
const KINDS: [&str; 3] = ["namespaces", "networkpolicies", "pods"];

/// How many changes go into one transaction at most, so that a flood of them does not keep the first waiting.
const LARGEST_BATCH: usize = 1000;

struct Enforcer<'a> {
    stages: &'a dyn Stages,
    kernel: Option<Kernel>,
    /// None in a dry run.
    connections: Option<Connections>,
    known: Known,
    waiting_for: BTreeSet<&'static str>,
    failed: bool,
    reported: BTreeSet<(ObjectKey, String, i64)>,
    unseen: Vec<String>,
    health: Health<Status>,
    metrics: Metrics,
    /// Where refused policies are told; not in a dry run.
    events: Option<Events>,
    /// When the changes arrived that are being taken in.
    heard: Option<Instant>,
}

/// What is known of the cluster.
enum Known {
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
    fn start(
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
            unseen: Vec::new(),
            metrics: health.status().metrics,
            health,
            events,
            heard: None,
        };
        enforcer.program(&Delta::default());
        Ok(enforcer)
    }

    /// Takes changes in, and brings the kernel up to date if that makes a difference.
    fn take(&mut self, changes: Vec<Change>) {
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
                    self.known = Known::All(Box::new(compiled));
                    self.program(&Delta::default());
                }
            }
        }
        if policies {
            self.report_refused();
        }
    }

    fn set_uplinks(&mut self, uplinks: Uplinks) {
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
    fn inspect(&mut self) {
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
    fn program(&mut self, delta: &Delta) -> usize {
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

    /// Tells of what this node's rules cannot see, which must not pass for enforced: in the log once, and by not being ready
    /// as long as it is so.
    fn report_unseen(&mut self, links: &Links) {
        let unseen = match &self.known {
            Known::All(compiled) => unseen::find(compiled.local_pods(), links),
            Known::Some { .. } => unseen::find(std::iter::empty(), links),
        };
        if unseen != self.unseen {
            unseen.iter().for_each(|what| tracing::error!("{what}"));
            self.health.update(|status| status.unseen = unseen.clone());
            self.unseen = unseen;
        }
    }

    /// Tells of policies that are not understood: in the log once per generation, in `/status` as long as they are there.
    fn report_refused(&mut self) {
        let world = self.known.parts().0;
        let refused = || world.policies.values().filter(|policy| !policy.refused.is_empty());
        let known: BTreeSet<_> =
            refused().map(|policy| (policy.key.clone(), policy.uid.clone(), policy.generation)).collect();
        for policy in refused() {
            let id = (policy.key.clone(), policy.uid.clone(), policy.generation);
            if !self.reported.contains(&id) {
                let reasons = policy.refused.join("; ");
                tracing::warn!(
                    policy = %policy.key,
                    generation = policy.generation,
                    reasons = reasons.as_str(),
                    "policy refused: the pods that it selects are closed, save for what other policies allow",
                );
                if let Some(events) = &self.events {
                    events.refused(Refusal {
                        policy: policy.key.clone(),
                        uid: policy.uid.clone(),
                        generation: policy.generation,
                        reasons,
                    });
                }
            }
        }
        self.metrics.policies.set(world.policies.len() as i64);
        self.metrics.refused.set(known.len() as i64);
        self.health.update(|status| {
            status.refused = refused()
                .map(|policy| RefusedPolicy {
                    policy: policy.key.to_string(),
                    generation: policy.generation,
                    reasons: policy.refused.clone(),
                })
                .collect();
        });
        self.reported = known;
    }
}

impl Known {
    fn parts(&self) -> (&World, &Site) {
        match self {
            Self::Some { world, site, .. } => (world, site),
            Self::All(compiled) => (compiled.world(), compiled.site()),
        }
    }
}
