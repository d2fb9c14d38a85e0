//! A client from an explicit kubeconfig; the ambient context is never used.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The file cannot be read or does not parse, or the context is not in it.
    #[error("kubeconfig {}{}: {cause}; try: kubectl --kubeconfig {} config get-contexts", file.display(), of(context), file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context that was asked for.
        context: Option<String>,
        /// What is wrong with it.
        cause: Box<KubeconfigError>,
    },
    /// The configuration is of no use to a client.
    #[error("no client can be made from kubeconfig {}: {cause}", file.display())]
    Client {
        /// The file.
        file: PathBuf,
        /// What the client said.
        cause: Box<kube::Error>,
    },
    /// The API server did not answer as expected.
    #[error("{tried}: {cause}; try: kubectl {paste}")]
    Api {
        /// What was tried.
        tried: String,
        /// What came back.
        cause: Box<kube::Error>,
        /// The same by hand.
        paste: String,
    },
}

fn of(context: &Option<String>) -> String {
    context.as_ref().map(|context| format!(", context '{context}'")).unwrap_or_default()
}

/// A client for the cluster of `context` in `file`, or of the file's current context.
///
/// # Errors
/// [`ClusterError::Kubeconfig`] and [`ClusterError::Client`]; nothing is sent to the cluster yet.
pub async fn connect(file: &Path, context: Option<&str>) -> Result<Client, ClusterError> {
    let wrong = |cause| ClusterError::Kubeconfig {
        file: file.to_owned(),
        context: context.map(str::to_owned),
        cause: Box::new(cause),
    };
    let kubeconfig = Kubeconfig::read_from(file).map_err(wrong)?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
    // Exec streams and watches are long-lived; requests have their own waits.
    config.read_timeout = None;
    Client::try_from(config).map_err(|cause| ClusterError::Client { file: file.to_owned(), cause: Box::new(cause) })
}
