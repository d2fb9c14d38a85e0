//! Remedies by what the tools say. The outputs are recorded: from kind 0.27 with docker 28, or from kind's and kubeadm's sources.

use netpol_harness::target::kind::remedy::find;
use rstest::rstest;

#[rstest]
#[case::no_kind(
    "kind is not installed: there is no 'kind' in PATH",
    "kind is what boots",
    "go install sigs.k8s.io/kind"
)]
#[case::kind_too_old(
    "kind 0.20.0 is too old: at least 0.27 is needed",
    "older versions",
    "go install sigs.k8s.io/kind"
)]
#[case::no_engine(
    "no container engine is installed: there is neither 'docker' nor 'podman' in PATH",
    "kind runs its nodes as containers",
    "install docker or podman"
)]
#[case::no_daemon(
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    "its daemon does not run",
    "systemctl start docker"
)]
#[case::no_permission(
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: \
     Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/info\": dial unix /var/run/docker.sock: connect: permission denied",
    "may not talk to the docker daemon",
    "usermod -aG docker"
)]
#[case::name_taken(
    "ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"netpol-calico\"",
    "is not one that could be used",
    "--cluster-name"
)]
#[case::unknown_image(
    "ERROR: failed to create cluster: failed to pull image \"kindest/node:v1.99.0\": command \"docker pull kindest/node:v1.99.0\" \
     failed with error: exit status 1\n\nCommand Output: Error response from daemon: manifest for kindest/node:v1.99.0 not found: \
     manifest unknown: manifest unknown",
    "no such node image",
    "--kubernetes-version"
)]
#[case::no_registry(
    "ERROR: failed to create cluster: failed to pull image \"kindest/node:v1.36.1\": command \"docker pull kindest/node:v1.36.1\" \
     failed with error: exit status 1\n\nCommand Output: Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial \
     tcp: lookup registry-1.docker.io: no such host",
    "cannot pull the node image",
    "docker load"
)]
#[case::inotify_by_its_message(
    "ERROR: failed to create cluster: could not find a log line that matches \"Reached target .*Multi-User System.*|detected cgroup v1\"\n\
     Failed to create control group inotify object: Too many open files",
    "inotify",
    "fs.inotify.max_user_instances"
)]
#[case::inotify_by_the_kubelet(
    "\"Failed to watch CA file\" err=\"error creating fsnotify watcher: too many open files\"",
    "inotify",
    "fs.inotify.max_user_watches"
)]
#[case::old_kind_and_new_image(
    "ERROR: failed to create cluster: could not find a log line that matches \"Reached target .*Multi-User System.*|detected cgroup v1\"",
    "too old for the node image",
    "--node-image"
)]
#[case::old_kind_and_new_containerd(
    "ERROR: unknown containerd config version: 4 (supported versions: 2 and 3)",
    "too old for the node image",
    "--node-image"
)]
#[case::skew(
    "this version of kubeadm only supports deploying clusters with the control plane version >= 1.35.0. Current version: v1.31.0",
    "version skew",
    "--kubernetes-version"
)]
#[case::cgroup_v1(
    "\"command failed\" err=\"failed to run Kubelet: validate service: kubelet is configured to not run on a host using cgroup v1. \
     cgroup v1 support is in maintenance mode\"",
    "cgroup v1",
    "CgroupVersion"
)]
#[case::rootless(
    "ERROR: failed to create cluster: running kind with rootless provider requires setting systemd property \"Delegate=yes\", see \
     https://kind.sigs.k8s.io/docs/user/rootless/",
    "delegated",
    "user@.service"
)]
#[case::rootless_on_v1(
    "ERROR: failed to create cluster: running kind with rootless provider requires cgroup v2, see https://kind.sigs.k8s.io/docs/user/rootless/",
    "needs cgroup v2",
    "as root"
)]
#[case::cni_image(
    "waited 45 s (images are pulled): image quay.io/calico/node:v3.32.1 cannot be pulled on x-worker: ErrImagePull no such host",
    "image of the CNI",
    "--load"
)]
#[case::own_image(
    "waited 45 s (images are pulled): image netpol:0.1.0 cannot be pulled on x-worker: ErrImagePull pull access denied",
    "no image of netpol",
    "--image-archive"
)]
#[case::node_without_cni(
    "waited 180 s (nodes are Ready): node x-worker is not Ready: container runtime network not ready: NetworkReady=false \
     reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
    "no configuration on this node",
    "log of its pod"
)]
#[case::crash(
    "waited 300 s (the CNI's pods are Ready): pod calico-node-x on a is not Ready (Running) calico-node: CrashLoopBackOff back-off 40s",
    "fails again and again",
    "kernel module"
)]
#[case::pools(
    "failed to ensure docker network: command \"docker network create ... kind\" failed with error: exit status 1\n\nCommand Output: \
     Error response from daemon: all predefined address pools have been fully subnetted",
    "no address range left",
    "network prune"
)]
#[case::disk("write /var/lib/containerd/io.containerd.content: no space left on device", "disk", "prune")]
#[case::in_use(
    "cluster netpol-calico is in use by another netpol, which holds /x.lock",
    "each other's way",
    "--cluster-name"
)]
#[case::dynamic(
    "netpol's own image cannot be built: 'netpol image build' failed (exit status: 2)",
    "static executable",
    "--image-archive"
)]
fn what_the_tools_say_has_a_cause_and_a_remedy(#[case] said: &str, #[case] cause: &str, #[case] remedy: &str) {
    let found = find(said).unwrap_or_else(|| panic!("no remedy for: {said}"));
    assert!(found.cause.contains(cause), "{found:?}");
    assert!(found.remedy.contains(remedy), "{found:?}");
}

#[test]
fn what_is_not_known_is_not_guessed_at() {
    assert_eq!(find("ERROR: failed to create cluster: something new"), None);
}
