//! What goes wrong with kind, told by what the tools say: cause and remedy, as one table of data.

/// One known failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// All of these stand in what was said, in lower case; the first remedy that fits is taken.
    signs: &'static [&'static str],
    /// What is wrong.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// From the most particular to the most general.
const TABLE: &[Remedy] = &[
    Remedy {
        signs: &["permission denied", "docker", ".sock"],
        cause: "you may not talk to the docker daemon: its socket belongs to root and the group docker",
        remedy: "sudo usermod -aG docker $USER and log in again; or run this with sudo; or use rootless podman with KIND_EXPERIMENTAL_PROVIDER=podman",
    },
    Remedy {
        signs: &["permission denied", "podman"],
        cause: "you may not talk to podman",
        remedy: "run 'podman info' by hand until it succeeds; https://kind.sigs.k8s.io/docs/user/rootless/ lists what rootless engines need",
    },
    Remedy {
        signs: &["cannot connect to the docker daemon"],
        cause: "docker is installed and its daemon does not run",
        remedy: "sudo systemctl start docker (in a container: start dockerd, or mount the host's socket); DOCKER_HOST may point elsewhere",
    },
    Remedy {
        signs: &["failed to connect to the docker api"],
        cause: "docker is installed and its daemon does not run",
        remedy: "sudo systemctl start docker (in a container: start dockerd, or mount the host's socket); DOCKER_HOST may point elsewhere",
    },
    Remedy {
        signs: &["cannot connect to podman"],
        cause: "podman is installed and its service does not answer",
        remedy: "podman machine start, or systemctl --user start podman.socket",
    },
    Remedy {
        signs: &["delegate=yes"],
        cause: "a rootless engine needs cgroups delegated to your session",
        remedy: "set Delegate=yes for user@.service: https://kind.sigs.k8s.io/docs/user/rootless/",
    },
    Remedy {
        signs: &["rootless", "cgroup v2"],
        cause: "a rootless engine needs cgroup v2, and this machine has v1",
        remedy: "use the engine as root, or boot with systemd.unified_cgroup_hierarchy=1",
    },
    Remedy {
        signs: &["already exist for a cluster with the name"],
        cause: "a kind cluster of this name is there, and it is not one that could be used for this",
        remedy: "choose another by --cluster-name, or delete it: kind delete cluster --name NAME",
    },
    Remedy {
        signs: &["too many open files"],
        cause: "the host has no room for further inotify watches, which every node needs",
        remedy: "sudo sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=1048576",
    },
    Remedy {
        signs: &["inotify", "no space left on device"],
        cause: "the host has no room for further inotify watches, which every node needs",
        remedy: "sudo sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=1048576",
    },
    Remedy {
        signs: &["no space left on device"],
        cause: "the disk of the container engine is full",
        remedy: "docker system prune, or give the engine more room",
    },
    Remedy {
        signs: &["unknown containerd config version"],
        cause: "this kind is too old for the node image: it cannot load images into its containerd",
        remedy: "go install sigs.k8s.io/kind@latest; or use the node image that this kind's release notes name (--node-image)",
    },
    Remedy {
        signs: &["reached target .*multi-user"],
        cause: "a node's init did not start: this kind is too old for the node image, or the host has no room for inotify watches",
        remedy: "use the node image that this kind's release notes name (--node-image); and try sudo sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=1048576",
    },
    Remedy {
        signs: &["only supports deploying clusters with the control plane version"],
        cause: "version skew: kubeadm in the node image does not start the version that was asked for",
        remedy: "take all nodes from one image: --node-image or --kubernetes-version, and the same for every node",
    },
    Remedy {
        signs: &["is newer than the api server"],
        cause: "version skew: a kubelet is newer than the API server",
        remedy: "take all nodes from one image: --node-image or --kubernetes-version",
    },
    Remedy {
        signs: &["kubelet is configured to not run on a host using cgroup v1"],
        cause: "this kubelet does not run on cgroup v1 unless it is told to, and the engine did not say that it has cgroup v1",
        remedy: "look at docker info --format '{{.CgroupVersion}}'; or boot the host with cgroup v2",
    },
    Remedy {
        signs: &["failed to pull image", "toomanyrequests"],
        cause: "the registry limits how often it may be asked",
        remedy: "docker login, or load the node image into the engine and name it: --node-image REF",
    },
    Remedy {
        signs: &["failed to pull image", "manifest"],
        cause: "there is no such node image",
        remedy: "name one that exists (--node-image, --kubernetes-version): https://github.com/kubernetes-sigs/kind/releases lists them",
    },
    Remedy {
        signs: &["failed to pull image"],
        cause: "the engine cannot pull the node image",
        remedy: "check the network and the registry; or load it into the engine (docker load -i FILE) and name it: --node-image REF",
    },
    Remedy {
        signs: &["cannot be pulled on", "netpol"],
        cause: "a node has no image of netpol and cannot pull it",
        remedy: "give the archive (netpol image build, --image-archive FILE), or an image that nodes can pull (--image REF)",
    },
    Remedy {
        signs: &["cannot be pulled on"],
        cause: "a node cannot pull an image of the CNI",
        remedy: "check the nodes' way to the registry; or save the images where they are there (docker save -o FILE IMAGE…) and load them: --load FILE",
    },
    Remedy {
        signs: &["all predefined address pools have been fully subnetted"],
        cause: "the engine has no address range left for kind's network",
        remedy: "docker network prune",
    },
    Remedy {
        signs: &["failed to ensure docker network"],
        cause: "the engine's network 'kind' cannot be made, often because a VPN or another network has its range",
        remedy: "docker network inspect kind; docker network rm kind, if no cluster uses it",
    },
    Remedy {
        signs: &["timed out waiting for the condition"],
        cause: "the control plane did not come up in time",
        remedy: "look at the kubelet's log in the evidence; 2 cores and 4 GB of free memory are the least for three nodes",
    },
    Remedy {
        signs: &["failed to init node with kubeadm"],
        cause: "kubeadm could not start the control plane",
        remedy: "look at the end of what was said and at the kubelet's log in the evidence",
    },
    Remedy {
        signs: &["is not the file that the entry pins"],
        cause: "the manifest was altered on its way, or was published anew",
        remedy: "compare it with the release; then give the file that you trust: --cni-manifest FILE",
    },
    Remedy {
        signs: &["was refused: 4"],
        cause: "the server does not hand out the CNI's manifest",
        remedy: "check the version in the entry or the prefix in --mirror; or download it elsewhere: --cni-manifest FILE",
    },
    Remedy {
        signs: &["was refused: "],
        cause: "the server of the CNI's manifest fails",
        remedy: "try again later; or use --mirror URL-PREFIX or --cni-manifest FILE",
    },
    Remedy {
        signs: &["was cut off after"],
        cause: "the download of the CNI's manifest broke off",
        remedy: "try again; or use --mirror URL-PREFIX or --cni-manifest FILE",
    },
    Remedy {
        signs: &["https://", "cannot be reached"],
        cause: "the server of the CNI's manifest cannot be reached from here",
        remedy: "check the network and HTTPS_PROXY; or download it elsewhere: --cni-manifest FILE, --mirror URL-PREFIX",
    },
    Remedy {
        signs: &["http://", "cannot be reached"],
        cause: "the mirror of the CNI's manifest cannot be reached from here",
        remedy: "check --mirror; or download it elsewhere: --cni-manifest FILE",
    },
    Remedy {
        signs: &["kind is not installed"],
        cause: "kind is what boots the cluster",
        remedy: "go install sigs.k8s.io/kind@latest, or https://kind.sigs.k8s.io/docs/user/quick-start/#installation; it must be in PATH",
    },
    Remedy {
        signs: &["kind ", " is too old"],
        cause: "older versions of kind do not start the node images of today",
        remedy: "go install sigs.k8s.io/kind@latest, or https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    },
    Remedy {
        signs: &["no container engine is installed"],
        cause: "kind runs its nodes as containers",
        remedy: "install docker or podman; netpol run without --target needs neither",
    },
    Remedy {
        signs: &["is in use by another netpol"],
        cause: "two runs would be in each other's way",
        remedy: "wait for the other; or choose another name: --cluster-name; or use what it made: --target kubeconfig:FILE",
    },
    Remedy {
        signs: &["netpol's own image cannot be built"],
        cause: "nodes need netpol as an image, made from a static executable",
        remedy: "netpol image build --executable PATH from a static netpol (it says how to build one), then --image-archive FILE; or --image REF that nodes can pull",
    },
    Remedy {
        signs: &["crashloopbackoff"],
        cause: "a pod of the CNI starts and fails again and again",
        remedy: "look at its log in the evidence; a missing kernel module of the host is the usual reason (vxlan, ip_tables, nf_tables)",
    },
    Remedy {
        signs: &["cni plugin not initialized"],
        cause: "the CNI has written no configuration on this node",
        remedy: "look at the log of its pod on that node in the evidence",
    },
    Remedy {
        signs: &["nodes have joined"],
        cause: "a worker did not join the cluster",
        remedy: "look at its kubelet's log in the evidence",
    },
];

/// The remedy for what was said, if it is known.
pub fn find(said: &str) -> Option<&'static Remedy> {
    let said = said.to_lowercase();
    TABLE.iter().find(|remedy| remedy.signs.iter().all(|sign| said.contains(sign)))
}
