//! The environment of a container, and `$(VAR)` in its command.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use crate::api::resources::{CONFIG_MAP, SECRET};
use crate::api::{Kind, Store};

/// What is known of a pod only once it has a place and addresses.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    host_ips: Vec<String>,
    pod_ips: Vec<String>,
}

impl Placement {
    /// On a node with these addresses; the pod's own, the first one first.
    pub(crate) fn new(host_ips: &[IpAddr], pod_ips: &[IpAddr]) -> Placement {
        let text = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
        Placement { host_ips: text(host_ips), pod_ips: text(pod_ips) }
    }
}

/// The variables of a container. Each may use those declared before it.
///
/// # Errors
/// A sentence about what the lab cannot resolve, or cannot resolve yet.
pub(crate) fn resolve(
    store: &Store,
    pod: &Pod,
    container: &Container,
    placement: &Placement,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let map = source.config_map_ref.as_ref().map(|map| (CONFIG_MAP, &map.name, map.optional));
        let secret = source.secret_ref.as_ref().map(|secret| (SECRET, &secret.name, secret.optional));
        let Some((kind, name, optional)) = map.or(secret) else { return Err("envFrom names no source".into()) };
        match data(store, kind, namespace, name) {
            Ok(data) => variables.extend(data.into_iter().map(|(key, value)| (format!("{prefix}{key}"), text(&value)))),
            Err(_) if optional == Some(true) => {}
            Err(problem) => return Err(format!("envFrom: {problem}")),
        }
    }
    for variable in container.env.iter().flatten() {
        let named = |problem: String| format!("env {}: {problem}", variable.name);
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &variables)),
            Some(source) => from(store, pod, source, placement).map_err(named)?,
        };
        variables.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(variables)
}

/// The value of one source; nothing if what it names is optional and not there.
fn from(store: &Store, pod: &Pod, source: &EnvVarSource, placement: &Placement) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        let value = self::field(pod, &field.field_path, placement);
        return value.map(Some).ok_or_else(|| format!("fieldPath {:?} is not supported by the lab", field.field_path));
    }
    let map = source.config_map_key_ref.as_ref().map(|map| (CONFIG_MAP, &map.name, &map.key, map.optional));
    let secret = source.secret_key_ref.as_ref().map(|secret| (SECRET, &secret.name, &secret.key, secret.optional));
    let Some((kind, name, key, optional)) = map.or(secret) else {
        return Err("the lab supports valueFrom.fieldRef, configMapKeyRef and secretKeyRef".into());
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let found = data(store, kind, namespace, name).and_then(|mut data| {
        let missing = || format!("couldn't find key {key} in {} {namespace}/{name}", kind.kind);
        data.remove(key).map(|value| text(&value)).ok_or_else(missing)
    });
    match found {
        Ok(value) => Ok(Some(value)),
        Err(_) if optional == Some(true) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// What a ConfigMap or a Secret holds, decoded.
///
/// # Errors
/// That it is not there.
pub(crate) fn data(
    store: &Store,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let object = store.get(kind, namespace, name).map_err(|status| status.message)?;
    let entries = |field: &str| {
        let map = object.value()[field].as_object().cloned().unwrap_or_default();
        map.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect::<Vec<_>>()
    };
    let decoded = |field: &str| {
        let decode = |text: String| base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        entries(field).into_iter().map(move |(key, value)| (key, decode(value))).collect::<Vec<_>>()
    };
    let plain = |field: &str| entries(field).into_iter().map(|(key, value)| (key, value.into_bytes()));
    Ok(if *kind == *SECRET {
        decoded("data").into_iter().chain(plain("stringData")).collect()
    } else {
        plain("data").chain(decoded("binaryData")).collect()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a field of the pod, as the downward API writes it into a file: also all labels or annotations.
pub(crate) fn file_field(pod: &Pod, path: &str, placement: &Placement) -> Option<String> {
    let map = match path {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return field(pod, path, placement),
    };
    let lines: Vec<String> = map.iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    Some(lines.join("\n"))
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
        "status.hostIP" => placement.host_ips.first().cloned(),
        "status.hostIPs" => Some(placement.host_ips.join(",")),
        "status.podIP" => placement.pod_ips.first().cloned(),
        "status.podIPs" => Some(placement.pod_ips.join(",")),
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
                {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
            ]}]},
        }))
        .expect("a pod")
    }

    #[test]
    fn fields_are_resolved() {
        let pod = pod();
        let address = |text: &str| text.parse().expect("an address");
        let placement = Placement::new(&[address("172.18.0.2")], &[address("10.244.1.2"), address("fd00::2")]);
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let variables = resolve(&Store::new(), &pod, container, &placement).expect("resolvable");
        let expected = [
            ("NAME", "p"),
            ("APP", "server"),
            ("WHERE", "p@$(NODE)"),
            ("NODE", "worker-1"),
            ("IP", "10.244.1.2"),
            ("IPS", "10.244.1.2,fd00::2"),
        ];
        assert_eq!(variables, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let mut pod = pod();
        let placement = Placement::new(&[], &[]);
        let container = &mut pod.spec.as_mut().expect("a spec").containers[0];
        let field =
            container.env.as_mut().expect("variables")[0].value_from.as_mut().and_then(|v| v.field_ref.as_mut());
        field.expect("a field").field_path = "status.phase".into();
        let container = container.clone();
        let error = resolve(&Store::new(), &pod, &container, &placement).expect_err("unknown field");
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
