//! The loop: what the API server and the node's routes tell goes into the world, the world into the kernel.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{FutureExt, StreamExt};
use netpol_nft::Table;

use crate::cli::EnforcerArgs;
use crate::compile::{self, Site};
use crate::damage::Damage;
use crate::diff::Delta;
use crate::enforcer::{Enforcer, KINDS, Known};
use crate::events::Events;
use crate::health::{self, Health};
use crate::stages::{Product, Stages};
use crate::status::Status;
use crate::until_stopped::until_stopped;
use crate::uplinks;
use crate::{dry_run, selftest, watch};

/// How long to wait after a transaction that failed before it is tried again unasked.
const RETRY_TRANSACTION: Duration = Duration::from_secs(1);
/// How often what may be unseen is looked at again until that is known.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many changes go into one transaction at most, so that a flood of them does not keep the first waiting.
const LARGEST_BATCH: usize = 1000;

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
    let EnforcerArgs {
        server,
        node,
        health_port,
        dry_run,
        filename,
        pod_to_own_node: own_node,
        node_local_dns,
        // The log is the program's.
        log_format: _,
    } = args;
    let node_local_dns = node_local_dns.into_iter().collect();
    if !filename.is_empty() {
        let uplinks = uplinks::follow().await?.borrow().uplinks.clone();
        print!("{}", dry_run::ruleset(&filename, &Site { node, uplinks, own_node, node_local_dns })?);
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
    let site = Site { node, uplinks: links.borrow_and_update().uplinks.clone(), own_node, node_local_dns };
    if !dry_run {
        selftest::passed(&health).await;
    }
    let events = (!dry_run).then(|| Events::start(client.clone(), site.node.clone()));
    let mut changes = watch::changes(&client, stages.policy_reader(), &health.status().metrics.staleness);
    let mut enforcer = Enforcer::start(site, stages, health, events)?;
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
            () = tokio::time::sleep(LOOK_AGAIN), if enforcer.looks_again() => {}
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
        enforcer.report_node(&links.borrow());
    }
}

async fn suspected(damage: &mut Option<Damage>) {
    match damage {
        Some(damage) => damage.suspected().await,
        None => std::future::pending().await,
    }
}
