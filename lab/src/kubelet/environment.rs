//! The environment of a container, and `$(VAR)` in its command.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

/// What is known of a pod only once it has a place and an address.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    /// The node's address.
    pub(crate) host_ip: String,
    /// The pod's address.
    pub(crate) pod_ip: String,
}

/// The variables of a container, in the order in which they were declared for expansion.
///
/// # Errors
/// A sentence about what the lab cannot resolve.
pub(crate) fn resolve(
    pod: &Pod,
    container: &Container,
    placement: &Placement,
) -> Result<BTreeMap<String, String>, String> {
    if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return Err("envFrom is not supported by the lab".into());
    }
    let mut variables = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => expand(variable.value.as_deref().unwrap_or_default(), &variables),
            Some(source) => match &source.field_ref {
                Some(field) => self::field(pod, &field.field_path, placement).ok_or_else(|| {
                    format!("env {}: fieldPath {:?} is not supported by the lab", variable.name, field.field_path)
                })?,
                None => return Err(format!("env {}: the lab supports valueFrom.fieldRef only", variable.name)),
            },
        };
        variables.insert(variable.name.clone(), value);
    }
    Ok(variables)
}

fn field(pod: &Pod, path: &str, placement: &Placement) -> Option<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref()?;
    let own = |value: &Option<String>| Some(value.clone().unwrap_or_default());
    match path {
        "metadata.name" => own(&metadata.name),
        "metadata.namespace" => own(&metadata.namespace),
        "metadata.uid" => own(&metadata.uid),
        "spec.nodeName" => own(&spec.node_name),
        "spec.serviceAccountName" => own(&spec.service_account_name),
        "status.hostIP" | "status.hostIPs" => Some(placement.host_ip.clone()),
        "status.podIP" | "status.podIPs" => Some(placement.pod_ip.clone()),
        _ => {
            let (map, key) = path.strip_suffix("']")?.split_once("['")?;
            let map = match map {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return None,
            };
            Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
        }
    }
}

/// Replaces `$(NAME)` by the variable's value; an unknown one stays as it is, and `$$` is a literal `$`.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        match rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            Some((name, after)) if variables.contains_key(name) => {
                expanded.push_str(&variables[name]);
                rest = after;
            }
            _ => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "server"}},
            "spec": {"nodeName": "worker-1", "containers": [{"name": "c", "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "WHERE", "value": "$(NAME)@$(NODE)"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ]}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn fields_are_resolved() {
        let pod = pod();
        let placement = Placement { host_ip: "172.18.0.2".into(), pod_ip: "10.244.1.2".into() };
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let variables = resolve(&pod, container, &placement).expect("resolvable");
        let expected =
            [("NAME", "p"), ("APP", "server"), ("WHERE", "p@$(NODE)"), ("NODE", "worker-1"), ("IP", "10.244.1.2")];
        assert_eq!(variables, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let mut pod = pod();
        let placement = Placement { host_ip: String::new(), pod_ip: String::new() };
        let container = &mut pod.spec.as_mut().expect("a spec").containers[0];
        let field =
            container.env.as_mut().expect("variables")[0].value_from.as_mut().and_then(|v| v.field_ref.as_mut());
        field.expect("a field").field_path = "status.phase".into();
        let container = container.clone();
        let error = resolve(&pod, &container, &placement).expect_err("unknown field");
        assert!(error.contains("NAME") && error.contains("status.phase"), "{error}");
    }

    #[test]
    fn variables_are_expanded_as_kubernetes_does() {
        let variables = [("A".to_owned(), "1".to_owned())].into();
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $( $", "$A $( $"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
