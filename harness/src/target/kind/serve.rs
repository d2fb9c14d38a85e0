//! The child's life: boot, say where, wait for the end, undo.

use std::fs;
use std::io::Read;
use std::pin::pin;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::boot::Boot;
use super::cni_entry::{self, Entry};
use super::engine::EngineError;
use super::failure::{BootError, SHOWN};
use super::place::{Place, state_root};
use super::steps::Step;
use super::tool::{Tools, paste, words};
use super::{Order, diagnose, remedy};
use crate::exit::Exit;
use crate::target::Up;
use crate::target::janitor::remove_run;
use crate::waits;

/// Boots the cluster, prints the line of the contract, waits for the end of stdin (or SIGINT, SIGTERM), and deletes what it made.
///
/// # Errors
/// What cannot be undone; failures of booting are said on stderr, with cause, remedy and evidence.
pub async fn serve_kind(order: Order) -> anyhow::Result<Exit> {
    let entry = match accept(&order) {
        Ok(entry) => entry,
        Err(said) => {
            eprintln!("{said}");
            return Ok(Exit::BadInput);
        }
    };
    let name = order.kind.cluster_name.clone().unwrap_or_else(|| format!("netpol-{}", entry.cni.metadata.name));
    let place = match Place::take(&state_root(), &name) {
        Ok(place) => place,
        Err(error) => return Ok(refuse(Step::LookForCluster, &error.into(), &name)),
    };
    let tools = Tools::new(order.kind.verbose);
    let mut boot = Boot::new(&order, &entry, &tools, &place, name);
    let mut ended = pin!(end()?);
    let booted = tokio::select! {
        booted = boot.run() => Some(booted),
        () = &mut ended => None,
    };
    let exit = match booted {
        Some(Ok(())) => {
            println!("{}", serde_json::to_string(&up(&boot))?);
            ended.await;
            Exit::Passed
        }
        Some(Err((step, error))) => {
            if boot.begun {
                gather(&mut boot, step, &said(&error)).await;
            }
            refuse(step, &error, &boot.name)
        }
        None => {
            tools.stop().await;
            Exit::Interrupted
        }
    };
    undo(&mut boot).await?;
    Ok(exit)
}

/// Reads the entry, and checks that it can do what is asked.
fn accept(order: &Order) -> Result<Entry, String> {
    let entry = cni_entry::load(&order.cni).map_err(|problems| problems.to_string())?;
    let (cni, family) = (&entry.cni, order.kind.family());
    if !cni.ip_families.contains(&family) {
        let can: Vec<_> = cni.ip_families.iter().map(ToString::to_string).collect();
        return Err(format!("--ip-family {family}: {} can do {} only", cni.metadata.name, can.join(", ")));
    }
    if order.kind.cni_manifest.is_some() && !cni.cluster.disable_default_cni {
        return Err(format!("--cni-manifest: {} installs nothing beside kind's own CNI", cni.metadata.name));
    }
    Ok(entry)
}

fn up(boot: &Boot<'_>) -> Up {
    Up {
        kubeconfig: boot.place.kubeconfig(),
        context: Some(format!("kind-{}", boot.name)),
        owned: true,
        image: Some(boot.image.clone()),
        profile: Some(boot.entry.cni.profile),
    }
}

/// Resolves when the parent is gone or wants an end.
fn end() -> std::io::Result<impl Future<Output = ()>> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (over, heard) = oneshot::channel();
    // A thread of its own: the runtime would wait for a read that nobody answers.
    std::thread::spawn(move || {
        let mut nothing = [0; 256];
        while std::io::stdin().lock().read(&mut nothing).is_ok_and(|count| count > 0) {}
        over.send(()).ok();
    });
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = heard => {}
        }
    })
}

/// Says what failed, why, and what to do; its exit code.
fn refuse(step: Step, error: &BootError, name: &str) -> Exit {
    let said = said(error);
    eprintln!("netpol: {step} ({name}) failed: {error}");
    if let Some(known) = remedy::find(&said) {
        eprintln!("  cause: {}\n  → {}", known.cause, known.remedy.replace("NAME", name));
    }
    Exit::Environment
}

/// All that was said, also what is too long to be shown.
fn said(error: &BootError) -> String {
    match error {
        BootError::Command { failed } | BootError::Engine(EngineError::Command(failed)) => {
            format!("{error}\n{}", failed.said)
        }
        _ => error.to_string(),
    }
}

/// Gathers evidence, and all that was `said` where the failure shows only its end.
async fn gather(boot: &mut Boot<'_>, step: Step, said: &str) {
    let at = Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    let folder = boot.place.evidence(&at);
    eprintln!("{}: gathering evidence", boot.name);
    let client = match boot.client.clone() {
        Some(client) => Some(client),
        None if boot.place.kubeconfig().exists() => crate::cluster::connect(&boot.place.kubeconfig(), None).await.ok(),
        None => None,
    };
    let (tools, provider, name) = (boot.tools, boot.provider, boot.name.clone());
    let (selected, kubelets) = (&boot.entry.cni.ready, matches!(step, Step::CreateCluster | Step::AwaitNodes));
    let gathered = diagnose::gather(tools, provider, &name, client.as_ref(), selected, kubelets, &folder);
    match tokio::time::timeout(waits::EVIDENCE.limit, gathered).await {
        Ok(excerpt) => {
            eprint!("{excerpt}");
            if let Some(known) = remedy::find(&excerpt) {
                eprintln!("  cause, by the evidence: {}\n  → {}", known.cause, known.remedy.replace("NAME", &name));
            }
        }
        Err(_) => {
            tools.stop().await;
            eprintln!("netpol: the evidence is not complete: waited {}", waits::EVIDENCE);
        }
    }
    if said.lines().count() > SHOWN {
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("said.txt"), said)).ok();
    }
    if folder.exists() {
        eprintln!("evidence: {}", folder.display());
    }
}

/// Deletes what was made, or says how.
async fn undo(boot: &mut Boot<'_>) -> anyhow::Result<()> {
    let delete = paste("kind".as_ref(), &words(["delete", "cluster", "--name", &boot.name]));
    if !boot.begun {
        if let (Some(client), Some(run), true, false) = (&boot.client, &boot.order.run, boot.reused, boot.order.keep) {
            remove_run(client, run).await?;
        }
        if boot.reused {
            eprintln!("{}: it stays, as it was kept before; to remove: {delete}", boot.name);
        } else if !boot.place.is_marked() {
            boot.place.clear();
        }
        return Ok(());
    }
    if boot.order.keep {
        let kubeconfig = boot.place.kubeconfig();
        eprintln!(
            "{}: kept: kubectl --kubeconfig {} get pods -A; to remove: {delete}",
            boot.name,
            kubeconfig.display()
        );
        return Ok(());
    }
    eprintln!("{}: deleting the cluster", boot.name);
    if let Err(failed) = boot.delete().await {
        eprintln!("{}", failed.last_lines(10));
        anyhow::bail!("cluster {} was not deleted: {failed}; try: {delete}", boot.name);
    }
    boot.place.clear();
    Ok(())
}
