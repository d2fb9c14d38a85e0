//! `netpol target up kubeconfig:…`: nothing to boot; but when the run is over, however it ended, its namespaces go.

use std::path::PathBuf;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::Up;
use crate::cluster::{ClusterError, connect};
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
    let version = client.apiserver_version().await;
    version.with_context(|| {
        format!(
            "the cluster of {} does not answer; try: kubectl --kubeconfig {} version",
            file.display(),
            file.display()
        )
    })?;
    println!("{}", serde_json::to_string(&Up { kubeconfig: file, context, owned: false })?);
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    if let Some(run) = run {
        remove_run(&client, &run).await?;
    }
    Ok(Exit::Passed)
}

/// Deletes every namespace of a run and waits until they are gone.
async fn remove_run(client: &Client, run: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("netpol.dev/run={run}"));
    let start = Instant::now();
    loop {
        let left = namespaces.list(&ours).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        for namespace in left.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await.ok();
        }
        if start.elapsed() > waits::OBJECTS_GONE.limit {
            anyhow::bail!("waited {}; try: kubectl delete namespace -l netpol.dev/run={run}", waits::OBJECTS_GONE);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
