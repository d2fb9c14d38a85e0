//! What a pod may ask for and the lab does not do: refused by name, so that nothing seems to work that does not.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::files;
use super::hooks::Hook;
use super::probe::Probes;
use super::security::Security;
use super::sysctls;

/// The first thing that the lab does not support, as a sentence.
pub(crate) fn unsupported(spec: &PodSpec) -> Option<String> {
    of_pod(spec).or_else(|| {
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.map(|container| of_container(spec, container)).find_map(|problem| problem)
    })
}

fn refused(present: bool, what: impl std::fmt::Display) -> Option<String> {
    present.then(|| format!("{what} is not supported by the lab"))
}

fn of_pod(spec: &PodSpec) -> Option<String> {
    let context = spec.security_context.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let asked = sysctls::of(spec);
    let foreign = asked.iter().find(|(name, _)| host_network || !sysctls::is_of_network(name));
    let volume = files::unsupported(spec);
    refused(volume.is_some(), volume.unwrap_or_default())
        .or_else(|| refused(spec.host_pid == Some(true), "hostPID"))
        .or_else(|| refused(spec.host_ipc == Some(true), "hostIPC"))
        .or_else(|| refused(spec.host_users == Some(false), "hostUsers: false"))
        .or_else(|| refused(spec.share_process_namespace == Some(true), "shareProcessNamespace"))
        .or_else(|| refused(spec.runtime_class_name.is_some(), "runtimeClassName"))
        .or_else(|| refused(foreign.is_some(), format!("sysctl {}", foreign.map_or("", |(name, _)| name))))
        .or_else(|| users(context.run_as_user, context.run_as_group, context.run_as_non_root))
        .or_else(|| {
            let groups = context.supplemental_groups.unwrap_or_default();
            let group = groups.into_iter().chain(context.fs_group).find(|group| *group != 0);
            refused(group.is_some(), format!("securityContext: group {}", group.unwrap_or_default()))
        })
        .or_else(|| {
            let profile = context.seccomp_profile.map(|profile| profile.type_).filter(|kind| kind != "Unconfined");
            refused(profile.is_some(), format!("securityContext.seccompProfile {}", profile.unwrap_or_default()))
        })
        .or_else(|| refused(context.se_linux_options.is_some(), "securityContext.seLinuxOptions"))
        .or_else(|| refused(context.app_armor_profile.is_some(), "securityContext.appArmorProfile"))
}

fn of_container(spec: &PodSpec, container: &Container) -> Option<String> {
    let name = &container.name;
    let context = container.security_context.clone().unwrap_or_default();
    let capabilities = context.capabilities.clone().unwrap_or_default();
    let listed = capabilities.add.iter().flatten().chain(capabilities.drop.iter().flatten());
    let unknown = Security::unknown(listed);
    let field = |field: &str| format!("container {name}: securityContext.{field}");
    Probes::of(container)
        .err()
        .or_else(|| Hook::of(container).err())
        .or_else(|| {
            let init = spec.init_containers.iter().flatten().any(|c| c.name == *name);
            let policy = container.restart_policy.as_deref().filter(|policy| !(init && *policy == "Always"));
            refused(policy.is_some(), format!("container {name}: restartPolicy {}", policy.unwrap_or_default()))
        })
        .or_else(|| {
            refused(
                container.stdin == Some(true) || container.tty == Some(true),
                format!("container {name}: stdin or tty"),
            )
        })
        .or_else(|| refused(container.volume_devices.is_some(), format!("container {name}: volumeDevices")))
        .or_else(|| {
            users(context.run_as_user, context.run_as_group, context.run_as_non_root)
                .map(|problem| format!("container {name}: {problem}"))
        })
        .or_else(|| refused(unknown.is_some(), field(&format!("capabilities {}", unknown.map_or("", |name| name)))))
        .or_else(|| refused(context.read_only_root_filesystem == Some(true), field("readOnlyRootFilesystem")))
        .or_else(|| {
            let profile = context.seccomp_profile.map(|profile| profile.type_).filter(|kind| kind != "Unconfined");
            refused(profile.is_some(), field(&format!("seccompProfile {}", profile.unwrap_or_default())))
        })
        .or_else(|| refused(context.se_linux_options.is_some(), field("seLinuxOptions")))
        .or_else(|| refused(context.app_armor_profile.is_some(), field("appArmorProfile")))
        .or_else(|| {
            let mount = context.proc_mount.filter(|mount| mount != "Default");
            refused(mount.is_some(), field(&format!("procMount {}", mount.unwrap_or_default())))
        })
}

/// A lab without privilege has one user, so that every lab has only this one.
fn users(user: Option<i64>, group: Option<i64>, non_root: Option<bool>) -> Option<String> {
    let sentence =
        |field: String| format!("securityContext.{field} is not supported by the lab: its only user is root");
    user.filter(|user| *user != 0)
        .map(|user| sentence(format!("runAsUser {user}")))
        .or_else(|| group.filter(|group| *group != 0).map(|group| sentence(format!("runAsGroup {group}"))))
        .or_else(|| (non_root == Some(true)).then(|| sentence("runAsNonRoot".into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_supported_is_named() {
        let of = |spec: serde_json::Value| unsupported(&serde_json::from_value(spec).expect("a pod spec"));
        let with = |key: &str, value: serde_json::Value| {
            let mut container = json!({"name": "c"});
            container[key] = value;
            json!({"containers": [container]})
        };
        let plain = json!({"name": "c", "livenessProbe": {"tcpSocket": {"port": 1}}});
        let init = json!([{"name": "i", "restartPolicy": "Always"}]);
        let good = json!({"containers": [plain], "initContainers": init, "hostNetwork": true, "volumes": []});
        assert_eq!(of(good), None);
        for (spec, named) in [
            (
                json!({"containers": [], "volumes": [{"name": "v", "nfs": {"path": "/", "server": "s"}}]}),
                "volume v: nfs",
            ),
            (json!({"containers": [], "hostPID": true}), "hostPID"),
            (json!({"containers": [], "securityContext": {"runAsNonRoot": true}}), "runAsNonRoot"),
            (
                json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.shm", "value": "1"}]}}),
                "kernel.shm",
            ),
            (with("livenessProbe", json!({"grpc": {"port": 1}})), "livenessProbe: grpc"),
            (with("readinessProbe", json!({"httpGet": {"port": "web"}})), "readinessProbe: the port"),
            (with("startupProbe", json!({"httpGet": {"port": 1, "scheme": "HTTPS"}})), "scheme HTTPS"),
            (with("lifecycle", json!({"stopSignal": "SIGUSR1"})), "stopSignal"),
            (with("restartPolicy", json!("Always")), "restartPolicy Always"),
            (with("securityContext", json!({"runAsUser": 1000})), "runAsUser 1000"),
            (with("securityContext", json!({"capabilities": {"add": ["NET_BROADCASTING"]}})), "NET_BROADCASTING"),
            (with("securityContext", json!({"readOnlyRootFilesystem": true})), "readOnlyRootFilesystem"),
            (with("securityContext", json!({"seccompProfile": {"type": "RuntimeDefault"}})), "RuntimeDefault"),
        ] {
            let said = of(spec).unwrap_or_default();
            assert!(said.contains(named), "{named}: {said}");
        }
    }
}
