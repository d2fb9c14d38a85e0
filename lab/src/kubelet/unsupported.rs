//! What a pod may ask for and the lab does not do: refused by name, so that nothing seems to work that does not.

use k8s_openapi::api::core::v1::PodSpec;

/// The first thing that the lab does not support, as a sentence.
pub(crate) fn unsupported(spec: &PodSpec) -> Option<String> {
    let some = |present: bool, what: &str| present.then(|| format!("{what} is not supported by the lab"));
    some(spec.init_containers.as_ref().is_some_and(|list| !list.is_empty()), "initContainers")
        .or_else(|| some(spec.volumes.as_ref().is_some_and(|list| !list.is_empty()), "volumes"))
        .or_else(|| some(spec.host_pid == Some(true), "hostPID"))
        .or_else(|| some(spec.host_ipc == Some(true), "hostIPC"))
        .or_else(|| {
            spec.containers.iter().find_map(|container| {
                some(container.lifecycle.is_some(), "lifecycle")
                    .or_else(|| some(container.liveness_probe.is_some(), "livenessProbe"))
                    .or_else(|| some(container.startup_probe.is_some(), "startupProbe"))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_supported_is_named() {
        let of = |spec: serde_json::Value| unsupported(&serde_json::from_value(spec).expect("a pod spec"));
        let container = json!({"name": "c"});
        assert_eq!(of(json!({"containers": [container], "hostNetwork": true, "volumes": []})), None);
        for (spec, name) in [
            (json!({"containers": [container], "initContainers": [container]}), "initContainers"),
            (json!({"containers": [container], "volumes": [{"name": "v"}]}), "volumes"),
            (json!({"containers": [{"name": "c", "livenessProbe": {}}]}), "livenessProbe"),
        ] {
            assert_eq!(of(spec), Some(format!("{name} is not supported by the lab")));
        }
    }
}
