//! Volumes: emptyDir, hostPath (read-only), and files made of ConfigMaps, Secrets, fields and tokens. They are written
//! when the pod starts and do not follow later changes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, Volume};

use super::super::environment::{self, Placement};
use super::ServiceAccount;
use crate::api::resources::{CONFIG_MAP, SECRET};
use crate::api::{Kind, Store};

/// Mode of files that name none.
const MODE: u32 = 0o644;

/// Where the contents of volumes come from.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Source<'a> {
    pub(in super::super) store: &'a Store,
    pub(in super::super) pod: &'a Pod,
    pub(in super::super) placement: &'a Placement,
    pub(in super::super) account: &'a ServiceAccount,
}

/// The first volume or mount that the lab does not do, as a sentence without its end.
pub(in super::super) fn unsupported(spec: &PodSpec) -> Option<String> {
    for volume in spec.volumes.iter().flatten() {
        let name = &volume.name;
        let known = volume.empty_dir.is_some()
            || volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some()
            || volume.host_path.is_some();
        if !known {
            let kind = serde_json::to_value(volume).ok();
            let kind = kind.and_then(|v| v.as_object()?.keys().find(|key| *key != "name").cloned());
            return Some(format!("volume {name}: {}", kind.unwrap_or_else(|| "a volume of no kind".into())));
        }
        let files = volume.downward_api.iter().flat_map(|volume| volume.items.iter().flatten());
        let projected = volume.projected.iter().flat_map(|volume| volume.sources.iter().flatten());
        let also = projected.clone().filter_map(|p| p.downward_api.as_ref()).flat_map(|p| p.items.iter().flatten());
        if files.chain(also).any(|file| file.resource_field_ref.is_some()) {
            return Some(format!("volume {name}: resourceFieldRef"));
        }
        if projected.clone().any(|p| p.cluster_trust_bundle.is_some()) {
            return Some(format!("volume {name}: clusterTrustBundle"));
        }
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for mount in container.volume_mounts.iter().flatten() {
            let named = format!("container {}: volumeMount {}", container.name, mount.name);
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            if volume.is_some_and(|volume| volume.host_path.is_some()) && mount.read_only != Some(true) {
                return Some(format!("{named}: a hostPath that is not readOnly"));
            }
            if mount.sub_path_expr.is_some() {
                return Some(format!("{named}: subPathExpr"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|kind| kind != "None") {
                return Some(format!("{named}: mountPropagation"));
            }
        }
    }
    None
}

type Data = BTreeMap<String, Vec<u8>>;

impl Source<'_> {
    /// Makes and fills the directory of a volume.
    pub(super) fn fill(&self, volume: &Volume, directory: &Path) -> Result<(), String> {
        if let Some(host) = &volume.host_path {
            return match fs::metadata(&host.path) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("hostPath {}: {error}", host.path)),
            };
        }
        let failed = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(failed)?;
        if volume.empty_dir.is_some() {
            return fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).map_err(failed);
        }
        if let Some(map) = &volume.config_map {
            let data = self.data(CONFIG_MAP, &map.name, map.optional)?;
            return files(directory, data, map.items.as_deref(), map.default_mode, map.optional);
        }
        if let Some(secret) = &volume.secret {
            let data = self.data(SECRET, secret.secret_name.as_deref().unwrap_or_default(), secret.optional)?;
            return files(directory, data, secret.items.as_deref(), secret.default_mode, secret.optional);
        }
        if let Some(downward) = &volume.downward_api {
            return self.fields(directory, downward.items.iter().flatten(), downward.default_mode);
        }
        let projected = volume.projected.clone().unwrap_or_default();
        for source in projected.sources.iter().flatten() {
            let mode = projected.default_mode;
            if let Some(map) = &source.config_map {
                let data = self.data(CONFIG_MAP, &map.name, map.optional)?;
                files(directory, data, map.items.as_deref(), mode, map.optional)?;
            }
            if let Some(secret) = &source.secret {
                let data = self.data(SECRET, &secret.name, secret.optional)?;
                files(directory, data, secret.items.as_deref(), mode, secret.optional)?;
            }
            if let Some(downward) = &source.downward_api {
                self.fields(directory, downward.items.iter().flatten(), mode)?;
            }
            if let Some(token) = &source.service_account_token {
                write(directory, &token.path, self.account.token_of(self.pod)?.as_bytes(), 0o600)?;
            }
        }
        Ok(())
    }

    /// What a pod has at the standard path unless it does not want to.
    pub(super) fn service_account(&self, directory: &Path) -> Result<(), String> {
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let token = self.account.token_of(self.pod)?;
        for (name, content) in [("ca.crt", self.account.ca.as_str()), ("token", &token), ("namespace", namespace)] {
            write(directory, name, content.as_bytes(), MODE)?;
        }
        Ok(())
    }

    fn data(&self, kind: &'static Kind, name: &str, optional: Option<bool>) -> Result<Data, String> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        match environment::data(self.store, kind, namespace, name) {
            // Every namespace of a real cluster has it.
            Err(_) if *kind == *CONFIG_MAP && name == "kube-root-ca.crt" => {
                Ok([("ca.crt".to_owned(), self.account.ca.clone().into_bytes())].into())
            }
            Err(_) if optional == Some(true) => Ok(Data::new()),
            found => found,
        }
    }

    fn fields<'a>(
        &self,
        directory: &Path,
        items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
        mode: Option<i32>,
    ) -> Result<(), String> {
        for item in items {
            let Some(field) = &item.field_ref else { continue };
            let value = environment::file_field(self.pod, &field.field_path, self.placement)
                .ok_or_else(|| format!("fieldPath {:?} is not supported by the lab", field.field_path))?;
            write(directory, &item.path, value.as_bytes(), mode_of(item.mode.or(mode)))?;
        }
        Ok(())
    }
}

fn mode_of(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| mode.try_into().ok()).unwrap_or(MODE)
}

/// Writes the keys that are asked for, or all.
fn files(
    directory: &Path,
    data: Data,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<(), String> {
    let Some(items) = items else {
        return data.iter().try_for_each(|(key, value)| write(directory, key, value, mode_of(mode)));
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => write(directory, &item.path, value, mode_of(item.mode.or(mode)))?,
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

fn write(directory: &Path, path: &str, content: &[u8], mode: u32) -> Result<(), String> {
    if Path::new(path).is_absolute() || path.split('/').any(|part| part == "..") {
        return Err(format!("path {path:?} leaves the volume"));
    }
    let file = directory.join(path);
    let written = || {
        fs::create_dir_all(file.parent().unwrap_or(directory))?;
        let mut open = fs::OpenOptions::new();
        let mut open = open.write(true).create(true).truncate(true).mode(mode).open(&file)?;
        io::Write::write_all(&mut open, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
    };
    written().map_err(|error| format!("{}: {error}", file.display()))
}
