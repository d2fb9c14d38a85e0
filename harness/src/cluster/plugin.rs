//! Which network plugin a cluster runs, as `kubectl get pods -n kube-system` shows it.

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
    /// How the names of its pods begin.
    prefix: &'static str,
}

impl Plugin {
    /// Whether it is known not to cut established connections some time after a change (N63).
    pub fn judges_at_once(&self) -> bool {
        matches!(self.prefix, "netpol-enforcer" | "calico-node")
    }

    /// Whether a pod of this name belongs to the plugin.
    pub fn owns(&self, pod: &str) -> bool {
        pod.starts_with(self.prefix)
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pod {})", self.name, self.pod)
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
    let mut names: Vec<_> = pods.iter().map(|pod| pod.name_any()).collect();
    names.sort();
    recognise(&names)
}

fn recognise(pods: &[String]) -> Option<Plugin> {
    KNOWN.iter().find_map(|(prefix, name)| {
        let pod = pods.iter().find(|pod| pod.starts_with(prefix))?;
        Some(Plugin { name, pod: pod.clone(), prefix })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_told_by_its_pods() {
        let pods = ["coredns-1".to_owned(), "calico-node-x2x".to_owned()];
        assert_eq!(recognise(&pods).map(|plugin| plugin.to_string()).as_deref(), Some("Calico (pod calico-node-x2x)"));
        assert_eq!(recognise(&pods[..1]), None);
    }
}
