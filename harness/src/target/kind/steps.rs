//! What booting does, in order.

use std::fmt;

use super::cni_entry::CniEntry;

/// One thing that booting does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `kind` is there and not too old.
    FindKind,
    /// docker or podman answers.
    FindEngine,
    /// The CNI's manifest is here, checked and patched.
    ReadManifest,
    /// Our own image is here as an archive.
    PrepareImage,
    /// No cluster has the name, or one that may be used or replaced.
    LookForCluster,
    /// `kind create cluster`.
    CreateCluster,
    /// Its kubeconfig again, for a cluster that is there already.
    ExportKubeconfig,
    /// `kind load image-archive`.
    LoadImages,
    /// The manifest is applied.
    InstallCni,
    /// The CNI's pods are Ready.
    AwaitCni,
    /// The nodes are Ready.
    AwaitNodes,
    /// The cluster says what it is, for later runs.
    RecordShape,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::FindKind => "looking for kind",
            Step::FindEngine => "looking for the container engine",
            Step::ReadManifest => "reading the CNI's manifest",
            Step::PrepareImage => "preparing netpol's image",
            Step::LookForCluster => "looking for clusters of this name",
            Step::CreateCluster => "creating the cluster",
            Step::ExportKubeconfig => "using the cluster that is there",
            Step::LoadImages => "loading images into the nodes",
            Step::InstallCni => "installing the CNI",
            Step::AwaitCni => "waiting for the CNI's pods",
            Step::AwaitNodes => "waiting for the nodes",
            Step::RecordShape => "recording the cluster's shape",
        })
    }
}

/// Before anything is made: what can fail for a reason that is not the cluster's fails here.
pub const PREPARE: [Step; 5] =
    [Step::FindKind, Step::FindEngine, Step::ReadManifest, Step::PrepareImage, Step::LookForCluster];

/// A new cluster. Images come before the CNI: a kubelet that misses one once waits before it looks again.
pub const CREATE: [Step; 6] =
    [Step::CreateCluster, Step::LoadImages, Step::InstallCni, Step::AwaitCni, Step::AwaitNodes, Step::RecordShape];

/// A cluster of the same name and shape. Our image may be another one than the last time.
pub const REUSE: [Step; 5] =
    [Step::ExportKubeconfig, Step::LoadImages, Step::AwaitCni, Step::AwaitNodes, Step::RecordShape];

/// Whether a step has anything to do.
pub fn applies(step: Step, cni: &CniEntry, loads_images: bool) -> bool {
    let installs = cni.cluster.disable_default_cni;
    match step {
        Step::ReadManifest | Step::InstallCni => installs,
        Step::LoadImages => loads_images,
        _ => true,
    }
}
