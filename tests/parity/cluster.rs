//! The cluster under test, and a namespace in it per test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::Target;

/// How long anything that a cluster is to do may take, image pulls of a real one included.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Never dropped, as statics are not; the lab ends with this process, whose end closes its stdin.
static LAB: OnceLock<Target> = OnceLock::new();

fn kubeconfig() -> PathBuf {
    match std::env::var_os("NETPOL_PARITY_KUBECONFIG") {
        Some(path) => path.into(),
        None => {
            // What is enforced is asked elsewhere; the flags may say otherwise, such as `--ip-family ipv6`.
            let flags = std::env::var("NETPOL_PARITY_LAB_FLAGS").unwrap_or_else(|_| "--enforcer none".to_owned());
            let flags: Vec<&str> = ["lab", "--nodes", "3"].into_iter().chain(flags.split_whitespace()).collect();
            LAB.get_or_init(|| Target::up(&flags)).kubeconfig.clone()
        }
    }
}

/// One test's share of the cluster.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) image: String,
}

/// Runs a test in a namespace of its own, which goes at the end, also when the test fails.
pub(crate) async fn in_world<F: Future<Output = ()>>(test: impl FnOnce(std::sync::Arc<World>) -> F) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig()).unwrap(), &options);
    let mut config = config.await.unwrap();
    // Tests look at refusals, and do not wait for them to pass.
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let namespace = format!("parity-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let image = std::env::var("NETPOL_PARITY_IMAGE").unwrap_or_else(|_| "netpol".to_owned());
    let world = std::sync::Arc::new(World { client: client.clone(), namespace, image });
    let namespaces = Api::<Namespace>::all(client);
    let object = json!({"metadata": {"name": world.namespace, "labels": {"netpol.dev/parity": "true"}}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    // A real server refuses pods until it is there.
    let accounts = world.api::<ServiceAccount>();
    let there = async || accounts.get_opt("default").await.unwrap();
    world.eventually("the namespace has its service account", there).await;
    let ended = AssertUnwindSafe(test(world.clone())).catch_unwind().await;
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.ok();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    /// The objects of a kind in this namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let typed: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &typed).await.unwrap()
    }

    /// A pod's manifest: an agent that listens on port 8080, with what `spec` sets beside or instead.
    pub(crate) fn agent(&self, name: &str, spec: Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "agent",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["agent", "server", "--port", "8080"],
                    "env": [{"name": "NETPOL_AGENT_NAME", "value": format!("{}-{name}", self.namespace)}],
                }],
            },
        });
        merge(&mut pod["spec"], spec);
        pod
    }

    /// Creates a pod and waits until it is Ready.
    pub(crate) async fn ready(&self, pod: Value) -> Pod {
        let created: Pod = self.create(pod).await;
        self.until(&created.name_any(), "is Ready", is_ready).await
    }

    /// Waits until a pod meets a condition.
    pub(crate) async fn until(&self, name: &str, what: &str, condition: impl Condition<Pod>) -> Pod {
        let waited = tokio::time::timeout(WITHIN, await_condition(self.api::<Pod>(), name, condition)).await;
        match waited {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => panic!("pod {name} {what}: not within {WITHIN:?}; {:?}", self.api::<Pod>().get(name).await),
        }
    }

    /// Asks again and again until there is an answer.
    pub(crate) async fn eventually<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let asking = async {
            loop {
                match look().await {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(WITHIN, asking).await.unwrap_or_else(|_| panic!("{what}: not within {WITHIN:?}"))
    }

    /// The nodes that pods may be put on, by name, with their InternalIPs, the primary one first.
    pub(crate) async fn nodes(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let open = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            !taints.into_iter().flatten().any(|taint| taint.effect != "PreferNoSchedule")
        };
        nodes.items.into_iter().filter(open).map(|node| (node.name_any(), internal(&node))).collect()
    }
}

/// A node's InternalIPs, in its order.
pub(crate) fn internal(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.parse().unwrap()).collect()
}

/// A pod's addresses, the primary one first.
pub(crate) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.as_ref().unwrap();
    let all: Vec<IpAddr> = status.pod_ips.iter().flatten().map(|ip| ip.ip.parse().unwrap()).collect();
    assert_eq!(
        status.pod_ip.as_ref().map(|ip| ip.parse().unwrap()),
        all.first().copied(),
        "podIP is the first of podIPs"
    );
    all
}

/// Whether a pod is there and Ready.
pub(crate) fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Sets what `changes` sets, object by object; lists of containers are merged by position.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(changes)) if changes.iter().all(Value::is_object) => {
            for (index, value) in changes.into_iter().enumerate() {
                match into.get_mut(index) {
                    Some(present) => merge(present, value),
                    None => into.push(value),
                }
            }
        }
        (into, value) => *into = value,
    }
}
