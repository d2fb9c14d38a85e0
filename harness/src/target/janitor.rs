//! `netpol target up kubeconfig:…`: nothing to boot; but when the run is over, however it ended, its namespaces go.

use std::path::PathBuf;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Up;
use crate::cluster::{ClusterError, connect, persist};
use crate::exit::Exit;
use crate::waits;

/// Prints the line, waits for the end of stdin, and deletes the namespaces of `run`.
///
/// # Errors
/// A cluster that does not answer, and namespaces that could not be deleted. A kubeconfig that is none is bad input.
pub async fn serve_kubeconfig(file: PathBuf, context: Option<String>, run: Option<String>) -> anyhow::Result<Exit> {
    let client = match connect(&file, context.as_deref()).await {
        Ok(client) => client,
        Err(error @ ClusterError::Kubeconfig { .. }) => {
            eprintln!("netpol: {error}");
            return Ok(Exit::BadInput);
        }
        Err(error) => return Err(error.into()),
    };
    let mut asked_to_end = end_of_stdin()?;
    let version = tokio::select! {
        version = persist(|| client.apiserver_version()) => version,
        _ = &mut asked_to_end => return Ok(Exit::Interrupted),
    };
    version.with_context(|| {
        format!(
            "the cluster of {} does not answer; try: kubectl --kubeconfig {} version",
            file.display(),
            file.display()
        )
    })?;
    println!("{}", serde_json::to_string(&Up { kubeconfig: file, context, owned: false, image: None, profile: None })?);
    // The sender is gone as well when its thread is.
    _ = asked_to_end.await;
    if let Some(run) = run {
        remove_run(&client, &run).await?;
    }
    Ok(Exit::Passed)
}

/// Tells when stdin ends. A thread of its own reads it: one of the runtime's would keep the process from ending early.
fn end_of_stdin() -> std::io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        _ = end.send(());
    })?;
    Ok(ended)
}

/// Removes what a run has left in a cluster of which nobody else takes care: its child was killed.
///
/// # Errors
/// As [`serve_kubeconfig`].
pub async fn remove_leftovers(up: &Up, run: &str) -> anyhow::Result<()> {
    remove_run(&connect(&up.kubeconfig, up.context.as_deref()).await?, run).await
}

/// Deletes every namespace of a run and waits until they are gone.
pub(super) async fn remove_run(client: &Client, run: &str) -> anyhow::Result<()> {
    let removed = tokio::time::timeout(waits::OBJECTS_GONE.limit * 2, remove_until_gone(client, run)).await;
    removed.unwrap_or_else(|_| Err(anyhow::anyhow!("the API server does not answer"))).with_context(|| {
        format!("removing the namespaces of run {run}; try: kubectl delete namespace -l netpol.dev/run={run}")
    })
}

async fn remove_until_gone(client: &Client, run: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("netpol.dev/run={run}"));
    let start = Instant::now();
    loop {
        let left = persist(|| namespaces.list(&ours)).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        for namespace in left.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await.ok();
        }
        if start.elapsed() > waits::OBJECTS_GONE.limit {
            anyhow::bail!("waited {}", waits::OBJECTS_GONE);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
