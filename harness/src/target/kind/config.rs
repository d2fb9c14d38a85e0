//! The kind cluster's configuration: the repository's `kind-config.yaml`, patched by the CNI's entry and the flags.

use serde_json::{Value, json};

use super::cni_entry::CniEntry;
use super::{IpFamily, KindArgs};

/// The repository's file, as people may use it by hand.
const TEMPLATE: &str = include_str!("../../../../kind-config.yaml");

/// A kubelet from Kubernetes 1.35 on refuses to start on cgroup v1 unless it is told not to.
const KUBELET_ON_CGROUP_V1: &str =
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n";

/// Versions of cgroups that an engine's containers may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroup {
    /// The old hierarchies.
    V1,
    /// The unified one.
    V2,
}

/// The file that `kind create cluster --config` gets.
///
/// # Errors
/// What is wrong with the embedded template: a bug of ours.
pub fn kind_config(entry: &CniEntry, args: &KindArgs, cgroup: Cgroup) -> Result<String, serde_yaml::Error> {
    let mut config: Value = serde_yaml::from_str(TEMPLATE)?;
    let family = args.family();
    config["networking"]["disableDefaultCNI"] = json!(entry.cluster.disable_default_cni);
    config["networking"]["ipFamily"] = json!(family);
    config["networking"]["podSubnet"] = json!(pod_subnets(entry, family));
    if let Some(mode) = &entry.cluster.kube_proxy_mode {
        config["networking"]["kubeProxyMode"] = json!(mode);
    }
    let nodes = config["nodes"].as_array().cloned().unwrap_or_default();
    let (workers, mut all): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node["role"] == "worker");
    let worker = workers.into_iter().next().unwrap_or_else(|| json!({"role": "worker"}));
    all.extend(std::iter::repeat_n(worker, usize::from(args.workers)));
    if let Some(image) = args.image_of_nodes() {
        all.iter_mut().for_each(|node| node["image"] = json!(image));
    }
    config["nodes"] = json!(all);
    if cgroup == Cgroup::V1 {
        config["kubeadmConfigPatches"] = json!([KUBELET_ON_CGROUP_V1]);
    }
    serde_yaml::to_string(&config)
}

/// The pods' ranges of a cluster, as kind and kubeadm write them.
pub fn pod_subnets(entry: &CniEntry, family: IpFamily) -> String {
    let subnet = &entry.cluster.pod_subnet;
    match family {
        IpFamily::Ipv4 => subnet.ipv4.to_string(),
        IpFamily::Ipv6 => subnet.ipv6.to_string(),
        IpFamily::Dual => format!("{},{}", subnet.ipv4, subnet.ipv6),
    }
}
