//! One enforcer per node, as a pod in the node's network: a small DaemonSet controller.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::resources::POD;
use crate::api::{Filter, From, Status, Store};
use crate::cli::{Enforcer, EnforcerError, fill};
use crate::kubelet::Registry;
use crate::nodes::Node;

/// Where the enforcers' pods live.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The label that every enforcer's pod has, with the enforcer's kind as its value.
pub(crate) const LABEL: &str = "netpol.dev/enforcer";
/// Where the built-in enforcer says whether it is ready.
const HEALTH_PORT: u16 = 9808;

/// Lines of its log that a failed enforcer is named with.
const LAST_LINES: usize = 10;
/// A foreign enforcer, which has no way to say that it is ready, has to run so long before its node is taken for Ready.
pub(crate) const SETTLED: Duration = Duration::from_millis(500);

/// Waits until an enforcer could not be started, or has ended twice; what happened, with its last words.
///
/// # Errors
/// If the watch falls too far behind.
pub(crate) async fn failure(store: Store, registry: Registry) -> Result<String, Status> {
    let filter = Filter { namespace: Some(NAMESPACE.into()), ..Filter::default() };
    let mut watch = store.watch(POD, filter, From::Now)?;
    loop {
        let event = watch.next().await?;
        let pod = event.object().value();
        if pod["metadata"]["labels"][LABEL].is_null() {
            continue;
        }
        let container = &pod["status"]["containerStatuses"][0];
        let ends = [&container["state"], &container["lastState"]].map(|state| &state["terminated"]);
        let Some(end) = ends.into_iter().find(|end| end.is_object()) else { continue };
        let name = event.object().name();
        let on =
            format!("the enforcer on {} (pod {NAMESPACE}/{name})", pod["spec"]["nodeName"].as_str().unwrap_or("?"));
        if end["reason"] == "StartError" {
            return Ok(format!("{on} cannot be started: {}", end["message"].as_str().unwrap_or_default()));
        }
        if container["restartCount"].as_u64().unwrap_or(0) == 0 {
            continue;
        }
        let last = registry.last_lines(NAMESPACE, name, LAST_LINES).await.join("");
        let said =
            if last.trim().is_empty() { "it printed nothing".into() } else { format!("its last lines:\n{last}") };
        return Ok(format!("{on} ends again and again, last with exit code {}; {said}", end["exitCode"]));
    }
}

/// The enforcers to keep running.
#[derive(Debug, Clone)]
pub(crate) struct Enforcers {
    /// What enforces.
    pub(crate) enforcer: Enforcer,
    /// A kubeconfig that nodes can use.
    pub(crate) kubeconfig: PathBuf,
    /// The nodes, one enforcer each.
    pub(crate) nodes: Vec<Node>,
}

impl Enforcers {
    /// Creates the pods, and creates each again when it is gone.
    ///
    /// # Errors
    /// What the store refuses, or a watch that fell too far behind.
    pub(crate) async fn keep(self, store: Store) -> Result<(), Status> {
        let wanted: Vec<Value> = self.pods().map_err(|error| Status::internal(error.to_string()))?;
        let filter = Filter { namespace: Some(NAMESPACE.into()), ..Filter::default() };
        let mut watch = store.watch(POD, filter, From::Now)?;
        loop {
            for pod in &wanted {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                if store.get(POD, NAMESPACE, name).is_err() {
                    match store.create(POD, NAMESPACE, pod.clone()) {
                        // Somebody else was faster: its deletion will be seen.
                        Err(status) if status.code == 409 => {}
                        other => drop(other?),
                    }
                }
            }
            watch.next().await?;
            while watch.try_next()?.is_some() {}
        }
    }

    fn pods(&self) -> Result<Vec<Value>, EnforcerError> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        self.nodes
            .iter()
            .filter_map(|node| match &self.enforcer {
                Enforcer::None => None,
                Enforcer::Builtin => Some(Ok(builtin(&node.name, &kubeconfig))),
                Enforcer::Command(words) => {
                    let words =
                        words.iter().map(|word| fill(word, &kubeconfig, &node.name)).collect::<Result<Vec<_>, _>>();
                    Some(words.map(|words| external(&node.name, words)))
                }
            })
            .collect()
    }
}

fn builtin(node: &str, kubeconfig: &str) -> Value {
    let mut container = json!({
        "name": "enforcer",
        "image": "netpol",
        "args": ["enforcer", "--kubeconfig", escape(kubeconfig), "--node", node],
    });
    container["readinessProbe"] = json!({
        "httpGet": {"host": "127.0.0.1", "path": "/readyz", "port": HEALTH_PORT},
        "periodSeconds": 1,
    });
    let mut pod = pod(&format!("netpol-enforcer-{node}"), "netpol-enforcer", node, container);
    // It has a kubeconfig.
    pod["spec"]["automountServiceAccountToken"] = false.into();
    pod
}

fn external(node: &str, words: Vec<String>) -> Value {
    let command: Vec<String> = words.iter().map(|word| escape(word)).collect();
    let container = json!({"name": "enforcer", "image": "netpol", "command": command});
    pod(&format!("external-enforcer-{node}"), "external-enforcer", node, container)
}

fn pod(name: &str, app: &str, node: &str, container: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app, LABEL: app}},
        "spec": {
            "nodeName": node,
            "hostNetwork": true,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 2,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    })
}

/// Keeps the kubelet from taking a `$(…)` for a variable.
fn escape(word: &str) -> String {
    word.replace('$', "$$")
}
