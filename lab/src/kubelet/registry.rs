//! The pods that run, by namespace and name: where exec and logs find their containers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::process::Pid;

use super::container::{ContainerRun, Surroundings};
use crate::namespaces::NetNs;
use crate::net::pod::PodNet;
use crate::processes::Processes;

/// A pod with its network, from before its first container starts until its last process has ended.
#[derive(Debug)]
pub(crate) struct RunningPod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The namespace that its processes live in: its own, or with hostNetwork the node's.
    pub(crate) netns: NetNs,
    /// Its own network; taken out when the pod is torn down. `None` with hostNetwork.
    pub(crate) own: Mutex<Option<PodNet>>,
    pub(crate) host_network: bool,
    pub(crate) containers: Vec<ContainerRun>,
    pub(crate) surroundings: Surroundings,
    pub(crate) processes: Processes,
    /// Every session that was started in it.
    sessions: Mutex<HashSet<Pid>>,
}

impl RunningPod {
    /// A pod whose network stands and whose containers wait.
    pub(super) fn new(
        (namespace, name, uid): (String, String, String),
        netns: NetNs,
        own: Option<PodNet>,
        containers: Vec<ContainerRun>,
        surroundings: Surroundings,
        processes: Processes,
    ) -> RunningPod {
        let host_network = own.is_none();
        let (own, sessions) = (Mutex::new(own), Mutex::default());
        RunningPod { namespace, name, uid, netns, own, host_network, containers, surroundings, processes, sessions }
    }

    /// The sessions that were started, for killing them.
    pub(super) fn sessions(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pods by namespace and name.
type Pods = BTreeMap<(String, String), Arc<RunningPod>>;

/// All running pods of the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<RwLock<Pods>>);

impl Registry {
    pub(super) fn insert(&self, pod: &Arc<RunningPod>) {
        let key = (pod.namespace.clone(), pod.name.clone());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, pod.clone());
    }

    /// Takes a pod out, unless another has its name by now.
    pub(super) fn remove(&self, pod: &RunningPod) {
        let mut pods = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (pod.namespace.clone(), pod.name.clone());
        if pods.get(&key).is_some_and(|present| present.uid == pod.uid) {
            pods.remove(&key);
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<RunningPod>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}
