//! The loop: what the API server and the node's routes tell goes into the world, the world into the kernel.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, StreamExt};

use crate::apply::Kernel;
use crate::cli::EnforcerArgs;
use crate::compile::{self, OwnNode, Site};
use crate::health::{self, Health};
use crate::stages::{Product, Stages};
use crate::status::{RefusedPolicy, Status};
use crate::until_stopped::until_stopped;
use crate::uplinks::{self, Links};
use crate::world::{Change, Delta, ObjectKey, World};
use crate::{selftest, unseen, watch};

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
    let EnforcerArgs { server, node, health_port, dry_run, leave_own_node_open } = args;
    let own_node = if leave_own_node_open { OwnNode::Open } else { OwnNode::Policed };
    let health = Health::<Status>::default();
    health.update(|status| {
        status.node = node.clone();
        status.waiting_for = KINDS.into();
        status.not_supported = vec![
            "IPv6: all IPv6 traffic of pods is dropped, save neighbour discovery",
            "named ports: a policy with one is refused",
        ];
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
    let mut enforcer = Enforcer::start(site, stages, health, dry_run)?;
    let mut changes = watch::changes(&client);
    let mut dirty = false;
    loop {
        tokio::select! {
            change = changes.next() => {
                let change = change.context("the watch of the API server ended")?;
                dirty |= enforcer.take(change);
                // What else has arrived meanwhile goes into the same transaction.
                while let Some(Some(change)) = changes.next().now_or_never() {
                    dirty |= enforcer.take(change);
                }
            }
            known = links.changed() => {
                known.context("nobody follows the node's routes any more")?;
                let uplinks = links.borrow_and_update().uplinks.clone();
                dirty |= uplinks != enforcer.site.uplinks;
                enforcer.site.uplinks = uplinks;
                enforcer.report_unseen(&links.borrow());
            }
            () = tokio::time::sleep(RETRY_TRANSACTION), if enforcer.failed => dirty = true,
        }
        if dirty && enforcer.synced() && dry_run {
            print!("{}", stages.compile(&enforcer.world, &enforcer.site));
            return Ok(ExitCode::SUCCESS);
        }
        if dirty {
            enforcer.program();
            enforcer.report_unseen(&links.borrow());
            dirty = false;
        }
    }
}

/// The kinds whose first list has to arrive before anything is enforced (P28).
const KINDS: [&str; 3] = ["namespaces", "networkpolicies", "pods"];

struct Enforcer<'a> {
    stages: &'a dyn Stages,
    kernel: Option<Kernel>,
    world: World,
    site: Site,
    waiting_for: BTreeSet<&'static str>,
    /// The closed skeleton is ours, to be kept in step with the uplinks until the first lists have arrived.
    skeleton: bool,
    failed: bool,
    reported: BTreeSet<(ObjectKey, String, i64)>,
    unseen: Vec<String>,
    health: Health<Status>,
}

impl<'a> Enforcer<'a> {
    /// Tests the kernel, and closes the pods' interfaces if nobody has programmed them before (P41). A table that is there
    /// stays as it is until everything is known (P27).
    fn start(site: Site, stages: &'a dyn Stages, health: Health<Status>, dry_run: bool) -> anyhow::Result<Self> {
        let mut enforcer = Self {
            stages,
            kernel: None,
            world: World::default(),
            site,
            waiting_for: KINDS.into(),
            skeleton: false,
            failed: false,
            reported: BTreeSet::new(),
            unseen: Vec::new(),
            health,
        };
        if !dry_run {
            let mut kernel = Kernel::open()?;
            selftest::run(kernel.connection())?;
            enforcer.skeleton = !kernel.has_table(compile::TABLE)?;
            enforcer.kernel = Some(kernel);
            enforcer.health.update(|status| status.self_tested = true);
            enforcer.program();
        }
        Ok(enforcer)
    }

    fn synced(&self) -> bool {
        self.waiting_for.is_empty()
    }

    /// Takes a change into the world; returns whether the ruleset may differ.
    fn take(&mut self, change: Change) -> bool {
        let listed = match &change {
            Change::Namespaces(Delta::All(_)) => Some("namespaces"),
            Change::Policies(Delta::All(_)) => Some("networkpolicies"),
            Change::Pods(Delta::All(_)) => Some("pods"),
            _ => None,
        };
        let first = listed.is_some_and(|kind| self.waiting_for.remove(kind));
        let changed = self.world.apply(change);
        if first {
            self.health.update(|status| status.waiting_for = self.waiting_for.clone());
        }
        changed || first
    }

    /// Brings the kernel up to date: with the world once it is known, with the skeleton until then if that is ours.
    fn program(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let synced = self.waiting_for.is_empty();
        let applied = match (synced, self.skeleton) {
            (true, _) => self.stages.apply(kernel, self.stages.compile(&self.world, &self.site)),
            (false, true) => kernel.apply(compile::skeleton(&self.site)),
            (false, false) => return,
        };
        let uplinks = self.site.uplinks.clone();
        self.failed = applied.is_err();
        match applied {
            Ok(applied) => {
                if applied.operations > 0 {
                    tracing::info!(
                        operations = applied.operations,
                        replaced = applied.replaced,
                        took_us = applied.took.as_micros(),
                        policies = self.world.policies.len(),
                        pods = self.world.pods.len(),
                        "{}",
                        if synced { "policies are in force" } else { "pods are closed until the cluster is known" },
                    );
                }
                self.health.update(|status| {
                    status.transactions += u64::from(applied.operations > 0);
                    status.programmed = synced;
                    status.last_error = None;
                    status.uplinks = uplinks;
                });
            }
            Err(error) => {
                tracing::error!(%error, "what was in force before still is");
                self.health.update(|status| {
                    status.failures += 1;
                    status.programmed = false;
                    status.last_error = Some(error.to_string());
                });
            }
        }
        if synced {
            self.report_refused();
        }
    }

    /// Tells of what this node's rules cannot see, which must not pass for enforced: in the log once, and by not being ready
    /// as long as it is so.
    fn report_unseen(&mut self, links: &Links) {
        let unseen = unseen::find(&self.world, &self.site.node, links);
        if unseen != self.unseen {
            unseen.iter().for_each(|what| tracing::error!("{what}"));
            self.health.update(|status| status.unseen = unseen.clone());
            self.unseen = unseen;
        }
    }

    /// Tells of policies that are not understood: in the log once per generation, in `/status` as long as they are there.
    fn report_refused(&mut self) {
        let refused = || self.world.policies.values().filter(|policy| !policy.refused.is_empty());
        let known: BTreeSet<_> =
            refused().map(|policy| (policy.key.clone(), policy.uid.clone(), policy.generation)).collect();
        for policy in refused() {
            let id = (policy.key.clone(), policy.uid.clone(), policy.generation);
            if !self.reported.contains(&id) {
                let reasons = policy.refused.join("; ");
                tracing::warn!(
                    policy = %policy.key,
                    generation = policy.generation,
                    reasons,
                    "policy refused: the pods that it selects are closed, save for what other policies allow",
                );
            }
        }
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
