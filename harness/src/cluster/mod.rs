//! The cluster, as the harness knows it: by its kubeconfig alone.

mod client;
mod nodes;
mod objects;
mod persist;
mod plugin;

use std::time::Duration;

use kube::Client;

use crate::waits;

pub use client::{ClusterError, connect};
pub use nodes::{OUTSIDE_LABEL, ReadyNode, outside_node, ready_nodes};
pub use objects::{ObjectError, Objects};
pub use persist::persist;
pub use plugin::{Plugin, find_plugin};

/// What worlds are built on.
#[derive(Clone)]
pub struct Cluster {
    /// Its API.
    pub client: Client,
    /// Its API, for what steps do.
    pub objects: Objects,
    /// Where pods may run.
    pub nodes: Vec<ReadyNode>,
    /// A node outside the pods' network, if there is one.
    pub outside: Option<ReadyNode>,
    /// The network plugin, if we know it.
    pub plugin: Option<Plugin>,
    /// Whether steps may delete the policy engine's pods: not in a cluster that we did not make, unless that was asked for.
    pub may_restart_engine: bool,
    /// The image of the agent's pods.
    pub image: String,
    /// The run's id: part of every namespace's name, and the value of the label `netpol.dev/run`.
    pub run: String,
}

impl Cluster {
    /// How long a held connection must be watched to see that it is not cut late: not at all on engines that are known to judge at
    /// once; some others sweep connections only every 30 s (N63).
    pub fn hold_at_least(&self) -> Duration {
        let known = self.plugin.as_ref().is_some_and(Plugin::judges_at_once);
        if known { Duration::ZERO } else { waits::SWEEP }
    }

    /// Looks around in a cluster. Nothing of its own may be restarted as yet.
    ///
    /// # Errors
    /// [`ClusterError`] when the nodes cannot be listed.
    pub async fn survey(client: Client, image: String, run: String) -> Result<Self, ClusterError> {
        let (nodes, outside, plugin) =
            futures::join!(ready_nodes(&client), outside_node(&client), find_plugin(&client));
        let (nodes, outside) = (nodes?, outside?);
        Ok(Cluster {
            objects: Objects::new(client.clone()),
            client,
            nodes,
            outside,
            plugin,
            may_restart_engine: false,
            image,
            run,
        })
    }
}
