//! Which network plugin a cluster runs, as `kubectl get pods -n kube-system` shows it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::persist;

/// A network plugin or policy engine, told by the names of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: &'static str,
    /// One of its pods, as evidence.
    pub pod: String,
    /// How often that pod's containers were restarted: an engine that crashes again and again enforces nothing.
    pub restarts: i32,
    /// How the names of its pods begin.
    prefix: &'static str,
}

impl Plugin {
    /// Whether it is known not to cut established connections some time after a change (N63).
    pub fn judges_at_once(&self) -> bool {
        matches!(self.prefix, "netpol-enforcer" | "calico-node")
    }

    /// Whether its pods know `netpol inspect`.
    pub fn shows_its_kernel(&self) -> bool {
        self.prefix == "netpol-enforcer"
    }

    /// Whether a pod of this name belongs to the plugin.
    pub fn owns(&self, pod: &str) -> bool {
        pod.starts_with(self.prefix)
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pod {}", self.name, self.pod)?;
        match self.restarts {
            0 => f.write_str(")"),
            many => write!(f, ", restarted {many} times)"),
        }
    }
}

/// How pods of well-known plugins are called, from their published manifests.
const KNOWN: &[(&str, &str)] = &[
    ("calico-node", "Calico"),
    ("cilium", "Cilium"),
    ("kindnet", "kindnet"),
    ("netpol-enforcer", "the netpol enforcer"),
    ("external-enforcer", "an enforcer given by --enforcer command"),
    ("antrea-agent", "Antrea"),
    ("kube-router", "kube-router"),
    ("kube-network-policies", "kube-network-policies"),
    ("weave-net", "Weave Net"),
    ("canal", "Canal"),
    ("kube-flannel", "flannel"),
    ("ovnkube-node", "OVN-Kubernetes"),
    ("aws-node", "the Amazon VPC CNI"),
    ("azure-npm", "Azure NPM"),
];

/// The plugin of this cluster, if one of its pods has a name that we know. A cluster that cannot be asked has none that we know.
pub async fn find_plugin(client: &Client) -> Option<Plugin> {
    let (api, all) = (Api::<Pod>::all(client.clone()), ListParams::default());
    let pods = persist(|| api.list(&all)).await.ok()?;
    recognise(&pods.iter().map(|pod| (pod.name_any(), restarts(pod))).collect())
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

/// From the names of pods, with their restarts.
fn recognise(pods: &BTreeMap<String, i32>) -> Option<Plugin> {
    KNOWN.iter().find_map(|(prefix, name)| {
        let mut own = pods.iter().filter(|(pod, _)| pod.starts_with(prefix));
        let (pod, restarts) = own.next()?;
        Some(Plugin { name, pod: pod.clone(), restarts: *restarts, prefix })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_told_by_its_pods() {
        let mut pods = BTreeMap::from([("coredns-1".to_owned(), 0), ("calico-node-x2x".to_owned(), 0)]);
        assert_eq!(recognise(&pods).unwrap().to_string(), "Calico (pod calico-node-x2x)");
        pods.insert("calico-node-x2x".to_owned(), 7);
        assert_eq!(recognise(&pods).unwrap().to_string(), "Calico (pod calico-node-x2x, restarted 7 times)");
        pods.remove("calico-node-x2x");
        assert_eq!(recognise(&pods), None);
    }
}
