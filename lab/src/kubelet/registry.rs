//! The pods that run, by namespace and name: where exec and logs find their containers.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::process::Pid;

use super::container::{ContainerRun, Role, State, Surroundings};
use crate::events::{About, Recorder};
use crate::namespaces::NetNs;
use crate::net::node::NodeNet;
use crate::net::pod::PodNet;
use crate::processes::Processes;

/// How long the last words of a run that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    /// Its first address: its own, or with hostNetwork the node's.
    pub(crate) address: IpAddr,
    /// All its addresses, the primary one first.
    pub(crate) addresses: Vec<IpAddr>,
    /// The node, from which it is probed.
    pub(crate) node: Arc<NodeNet>,
    /// Init containers in their order, then the others.
    pub(crate) containers: Arc<[ContainerRun]>,
    pub(crate) surroundings: Surroundings,
    pub(crate) processes: Processes,
    pub(crate) recorder: Recorder,
    /// Every session that was started in it.
    pub(super) sessions: Mutex<HashSet<Pid>>,
}

impl RunningPod {
    /// What an event about it, or about a container of it, is about.
    pub(super) fn about(&self, container: Option<usize>) -> About {
        let field_path = container.map(|index| self.containers[index].field_path()).unwrap_or_default();
        About { namespace: self.namespace.clone(), name: self.name.clone(), uid: self.uid.clone(), field_path }
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

    /// The last lines of what the first container of a pod has written, also before its last restart; the logs of
    /// runs that have ended are waited for, for a moment.
    pub(crate) async fn last_lines(&self, namespace: &str, name: &str, count: usize) -> Vec<String> {
        let Some(pod) = self.get(namespace, name) else { return Vec::new() };
        let Some(run) = pod.containers.iter().find(|run| run.role == Role::Main) else { return Vec::new() };
        let (logs, runs) = {
            let record = run.record();
            ([record.previous_log.clone(), record.log.clone()], matches!(record.state, State::Running { .. }))
        };
        // The present run's log is the last one's until the next has started.
        let ended = if runs { &logs[..1] } else { &logs[..] };
        for log in ended.iter().flatten() {
            let _ = tokio::time::timeout(LAST_WORDS, log.closed()).await;
        }
        let lines: Vec<_> = logs.into_iter().flatten().flat_map(|log| log.read().0).collect();
        let first = lines.len().saturating_sub(count);
        lines[first..].iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }
}
