//! The kubelet of one node: it runs the pods that are bound to the node, each in a task of its own.

mod backoff;
mod container;
mod environment;
mod exec;
mod execute;
mod files;
mod hooks;
mod image;
mod logs;
mod pod;
mod probe;
mod registry;
mod security;
mod status;
mod sysctls;
mod teardown;
mod terminal;
mod unsupported;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::api::resources::POD;
use crate::api::selectors::FieldSelector;
use crate::api::{Filter, From, Object, Status, Store, WatchEvent};
use crate::cli::RunId;
use crate::events::Recorder;
use crate::net::node::NodeNet;
use crate::processes::Processes;

pub(crate) use files::ServiceAccount;
pub(crate) use registry::Registry;
pub(crate) use status::condition;

/// What a kubelet works with.
#[derive(Debug)]
pub(crate) struct Kubelet {
    /// The cluster's state.
    pub(crate) store: Store,
    /// The node's name.
    pub(crate) node: String,
    /// The node's network.
    pub(crate) net: Arc<NodeNet>,
    /// Whether the node is Ready: pods with a network of their own start only then.
    pub(crate) ready: watch::Receiver<bool>,
    /// The lab's processes.
    pub(crate) processes: Processes,
    /// The running pods of all nodes, for exec and logs.
    pub(crate) registry: Registry,
    /// The run's id, in the environment of every process.
    pub(crate) run: RunId,
    /// First directory of the PATH.
    pub(crate) bin: PathBuf,
    /// Where the files of pods are kept.
    pub(crate) files: PathBuf,
    /// What pods find at the service account's path.
    pub(crate) account: ServiceAccount,
    /// Writes events of this kubelet.
    pub(crate) recorder: Recorder,
}

/// What a pod is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    /// End within the grace period.
    Terminate(Duration),
    /// The object is gone: end at once.
    Kill,
}

/// What the kubelet tells a pod's task.
struct Handle {
    order: watch::Sender<Order>,
    latest: watch::Sender<Arc<Pod>>,
}

impl Kubelet {
    /// Runs the node's pods until the watch fails.
    ///
    /// # Errors
    /// If this kubelet falls too far behind the changes.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Status> {
        let fields = FieldSelector::parse(POD, &format!("spec.nodeName={}", self.node))?;
        let mut watch = self.store.watch(POD, Filter { fields, ..Filter::default() }, From::Now)?;
        let mut pods: HashMap<String, Handle> = HashMap::new();
        loop {
            let event = watch.next().await?;
            let object = event.object().clone();
            if let WatchEvent::Deleted(_) = event {
                if let Some(pod) = pods.remove(object.uid()) {
                    pod.order.send_replace(Order::Kill);
                }
                continue;
            }
            let pod = match object.parse::<Pod>() {
                Ok(pod) => pod,
                Err(error) => {
                    tracing::error!(pod = object.name(), %error, "the kubelet cannot read a pod");
                    continue;
                }
            };
            if let Some(known) = pods.get(object.uid()) {
                known.latest.send_replace(Arc::new(pod));
            } else {
                let (order, orders) = watch::channel(Order::Run);
                let (latest, updates) = watch::channel(Arc::new(pod.clone()));
                pods.insert(object.uid().to_owned(), Handle { order, latest });
                tokio::spawn(pod::run(self.clone(), pod, updates, orders));
            }
            if let (Some(grace), Some(pod)) = (grace(&object), pods.get(object.uid())) {
                pod.order.send_replace(Order::Terminate(grace));
            }
        }
    }
}

/// The grace period of a pod that is to be deleted.
fn grace(object: &Object) -> Option<Duration> {
    let seconds = object.value()["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
    object.is_terminating().then(|| Duration::from_secs(seconds))
}
