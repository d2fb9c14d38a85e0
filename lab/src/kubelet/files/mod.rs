//! The files that a pod has besides the host's: its volumes, and where its containers see them.

mod root;
mod volume;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::api::Accounts;

pub(super) use root::{Mount, build};
pub(super) use volume::{Source, unsupported};

/// Where Kubernetes has the files by which programs find the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What programs in pods trust and show to the API server.
#[derive(Debug, Clone)]
pub(crate) struct ServiceAccount {
    /// Certificate of the cluster's authority, PEM.
    pub(crate) ca: String,
    /// A token for each account.
    pub(crate) accounts: Accounts,
}

impl ServiceAccount {
    /// The token of a pod's account.
    fn token_of(&self, pod: &Pod) -> Result<String, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
        self.accounts.token(namespace, name).map_err(|status| status.message)
    }
}

/// The directory of one pod in the lab's private files; removed with it.
#[derive(Debug)]
pub(crate) struct PodFiles(PathBuf);

impl PodFiles {
    /// Makes a directory under `base` for the pod with this uid.
    pub(super) fn create(base: &Path, uid: &str) -> io::Result<PodFiles> {
        let directory = base.join(uid);
        fs::create_dir_all(directory.join("volumes"))?;
        Ok(PodFiles(directory))
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    /// Fills the volumes of a pod.
    ///
    /// # Errors
    /// A sentence about what is not there, or could not be written.
    pub(super) fn fill(&self, source: &Source<'_>, pod: &Pod) -> Result<(), String> {
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let named = |problem: String| format!("MountVolume.SetUp failed for volume {:?}: {problem}", volume.name);
            source.fill(volume, &self.volume(&volume.name)).map_err(named)?;
        }
        if mounts_token(pod) {
            source.service_account(&self.volume(TOKEN)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What a container of the pod has mounted where.
    ///
    /// # Errors
    /// A sentence about a mount that names no volume.
    pub(super) fn mounts(&self, pod: &Pod, container: &Container) -> Result<Vec<Mount>, String> {
        let volumes: Vec<_> = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = volumes.iter().find(|volume| volume.name == mount.name);
            let volume = volume.ok_or_else(|| format!("volumeMount {:?} names no volume of the pod", mount.name))?;
            let host = volume.host_path.as_ref().map(|host| PathBuf::from(&host.path));
            let mut source = host.clone().unwrap_or_else(|| self.volume(&mount.name));
            if let Some(sub) = mount.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
                if Path::new(sub).is_absolute() || sub.split('/').any(|part| part == "..") {
                    return Err(format!("volumeMount {:?}: subPath {sub:?} leaves the volume", mount.name));
                }
                source.push(sub);
                if volume.empty_dir.is_some() {
                    fs::create_dir_all(&source).map_err(|error| format!("{}: {error}", source.display()))?;
                }
            }
            let read_only = mount.read_only == Some(true) || volume.empty_dir.is_none();
            mounts.push(Mount { source, target: PathBuf::from(&mount.mount_path), read_only });
        }
        let taken = mounts.iter().any(|mount| mount.target == Path::new(SERVICE_ACCOUNT));
        if mounts_token(pod) && !taken {
            mounts.push(Mount { source: self.volume(TOKEN), target: SERVICE_ACCOUNT.into(), read_only: true });
        }
        // An outer mount before what lies within it.
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(mounts)
    }

    /// The directory that one start of a container builds its tree in.
    pub(super) fn root(&self, container: &str) -> io::Result<PathBuf> {
        let directory = self.0.join("roots").join(container);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

impl Drop for PodFiles {
    fn drop(&mut self) {
        // Not there: the lab is ending, and all its private files with it.
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.0.display(), %error, "cannot remove a pod's files");
        }
    }
}

/// The volume of the service account's files; no volume of a pod can have a name with a dot at its start.
const TOKEN: &str = ".service-account";

/// Whether a pod wants the service account's files without naming them.
fn mounts_token(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec: &PodSpec| spec.automount_service_account_token != Some(false))
}
