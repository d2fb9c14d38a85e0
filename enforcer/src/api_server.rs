//! How the API server is reached: by a kubeconfig, or by the service account of the pod that the program runs in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long a connection may take to come about. On a node that boots, packets to the cluster's service address go nowhere
/// until kube-proxy has run, and connection tracking remembers that for the connection: only another one gets through.
const CONNECT: Duration = Duration::from_secs(3);

/// How long an answer may be silent: a watch, the longest, ends after 290 s by itself. A list that is never answered would
/// otherwise be waited for until TCP gives up, if the server went without a word.
const SILENCE: Duration = Duration::from_secs(300);

/// Where the API server is, and who asks it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ApiServerArgs {
    /// The kubeconfig of the cluster. Without it the service account of the pod that it runs in is used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The address of the API server instead of the one that the kubeconfig or the pod's environment names, such as
    /// https://10.0.0.1:6443.
    #[arg(long, value_name = "URL", env = "NETPOL_APISERVER")]
    pub apiserver: Option<String>,
}

impl ApiServerArgs {
    /// A client for the API server. Nothing is sent yet.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, there is no service account, or the address is none.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let Self { kubeconfig, apiserver } = self;
        let mut config = match (kubeconfig, apiserver) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("cannot use the kubeconfig {}", path.display()))?
            }
            // The environment is not asked for an address that is given.
            (None, Some(_)) => Config::incluster_dns().context(NO_POD)?,
            (None, None) => Config::incluster_env().context(NO_POD)?,
        };
        if let Some(url) = apiserver {
            let parsed = url.parse().ok().filter(|url: &hyper::Uri| url.scheme().is_some() && url.host().is_some());
            config.cluster_url = parsed.with_context(|| format!("--apiserver {url}: use https://ADDRESS:PORT"))?;
        }
        config.connect_timeout = Some(CONNECT);
        (config.read_timeout, config.reset_reader_on_write) = (Some(SILENCE), true);
        tracing::info!(url = %config.cluster_url, "asking the API server");
        Client::try_from(config).context("cannot make a client of the API server's address and credentials")
    }
}

const NO_POD: &str = "this is no pod with a service account; give a --kubeconfig";
