//! Hollow pods: API objects that look like running pods and have nothing behind them, for tests of scale.
//!
//! They stand on hollow nodes, which take no other pods, in hollow namespaces, and carry the label [`LABEL`]. Nobody
//! can reach their addresses, which lie in 10.128.0.0/9.

mod churn;
mod objects;

use std::time::Duration;

use serde_json::Value;

use crate::api::resources::{NAMESPACE, NODE, POD};
use crate::api::selectors::LabelSelector;
use crate::api::{DeleteOptions, Filter, From, Status, Store, WatchEvent};

pub use objects::{LABEL, PODS_OF_A_NAMESPACE, PODS_OF_A_NODE};

/// How many hollow pods, and how much happens to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hollow {
    /// Number of pods, at most [`Hollow::MOST`].
    pub pods: u32,
    /// Changes a second: pods are relabelled, and one in ten is deleted and made anew under another name and address.
    pub churn: u32,
}

impl Hollow {
    /// As many as there are addresses.
    pub const MOST: u32 = 1 << 20;

    /// Creates nodes, namespaces and pods. Every pod is Running and Ready from its first version on.
    ///
    /// # Errors
    /// What the store refuses.
    pub fn create(self, store: &Store) -> Result<(), Status> {
        for node in 0..self.pods.div_ceil(PODS_OF_A_NODE) {
            store.create(NODE, "", objects::node(node))?;
        }
        for namespace in 0..self.pods.div_ceil(PODS_OF_A_NAMESPACE) {
            store.create(NAMESPACE, "", objects::namespace(namespace))?;
        }
        for pod in 0..self.pods {
            create_pod(store, objects::pod(pod, 0))?;
        }
        Ok(())
    }

    /// Changes pods at the rate of [`Hollow::churn`], and ends those that somebody deletes. Returns only if it fails.
    ///
    /// # Errors
    /// If the store refuses a change, or this falls too far behind others' changes.
    pub async fn run(self, store: Store) -> Result<(), Status> {
        tokio::try_join!(churn::keep(self, &store), end_deleted(&store)).map(drop)
    }
}

fn create_pod(store: &Store, pod: Value) -> Result<(), Status> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    store.create(POD, &namespace, pod).map(drop)
}

/// What a kubelet does when a pod is to go; there is nothing to stop here.
async fn end_deleted(store: &Store) -> Result<(), Status> {
    let filter = Filter { labels: LabelSelector::parse(LABEL)?, ..Filter::default() };
    let mut pods = store.watch(POD, filter, From::Now)?;
    loop {
        if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = pods.next().await?
            && pod.is_terminating()
        {
            // Somebody else may have been faster.
            let _ = store.delete(POD, pod.namespace(), pod.name(), &DeleteOptions::now(pod.uid()));
        }
    }
}

/// How long the churn's tasks sleep: changes of one such time come together.
const TICK: Duration = Duration::from_millis(5);
