//! The variables by which containers find Services, as the kubelet sets them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SERVICE_NAME;
use crate::api::resources::SERVICE;
use crate::api::{Filter, Store};

/// The variables of a container in `namespace`: of the API server always, of the namespace's Services with `links`
/// (`enableServiceLinks`), as they are when the container starts.
pub(crate) fn variables(store: &Store, namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if links {
        let filter = Filter { namespace: Some(namespace.to_owned()), ..Filter::default() };
        store.list(SERVICE, &filter).items.iter().for_each(|service| add(&mut variables, service.value()));
    }
    if let Ok(service) = store.get(SERVICE, "default", SERVICE_NAME) {
        add(&mut variables, service.value());
    }
    variables
}

fn add(variables: &mut BTreeMap<String, String>, service: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let address = text(&service["spec"]["clusterIP"]);
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if address.is_empty() || address == "None" || ports.is_empty() {
        return;
    }
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let name = upper(&text(&service["metadata"]["name"]));
    let in_url = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    variables.insert(format!("{name}_SERVICE_HOST"), address.clone());
    for (index, port) in ports.iter().enumerate() {
        let (number, protocol) = (port["port"].to_string(), text(&port["protocol"]));
        let url = format!("{}://{in_url}:{number}", protocol.to_lowercase());
        if index == 0 {
            variables.insert(format!("{name}_SERVICE_PORT"), number.clone());
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        let port_name = text(&port["name"]);
        if !port_name.is_empty() {
            variables.insert(format!("{name}_SERVICE_PORT_{}", upper(&port_name)), number.clone());
        }
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        let facts = [("", url), ("_PROTO", protocol.to_lowercase()), ("_PORT", number), ("_ADDR", address.clone())];
        variables.extend(facts.map(|(suffix, value)| (format!("{prefix}{suffix}"), value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_those_of_kubernetes() {
        let mut variables = BTreeMap::new();
        let ports = json!([{"name": "http-alt", "port": 80, "protocol": "TCP"}]);
        let spec = json!({"clusterIP": "10.96.0.9", "ports": ports});
        add(&mut variables, &json!({"metadata": {"name": "my-svc"}, "spec": spec}));
        let expected = [
            ("MY_SVC_PORT", "tcp://10.96.0.9:80"),
            ("MY_SVC_PORT_80_TCP", "tcp://10.96.0.9:80"),
            ("MY_SVC_PORT_80_TCP_ADDR", "10.96.0.9"),
            ("MY_SVC_PORT_80_TCP_PORT", "80"),
            ("MY_SVC_PORT_80_TCP_PROTO", "tcp"),
            ("MY_SVC_SERVICE_HOST", "10.96.0.9"),
            ("MY_SVC_SERVICE_PORT", "80"),
            ("MY_SVC_SERVICE_PORT_HTTP_ALT", "80"),
        ];
        assert_eq!(variables, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        add(&mut variables, &json!({"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": ports}}));
        assert!(!variables.keys().any(|key| key.starts_with("HEADLESS")));
    }
}
