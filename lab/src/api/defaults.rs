//! Defaults that the API server fills in and that clients rely on when they read an object back.

use serde_json::{Value, json};

use super::resources::Kind;

/// Fills in the defaults of the kind. Values of a wrong type are left for validation to name.
pub(crate) fn fill(kind: &'static Kind, object: &mut Value) {
    match kind.kind {
        "NetworkPolicy" => network_policy(object),
        "Pod" => pod(object),
        "Namespace" => namespace(object),
        "Service" => service(object),
        "Secret" => set(object, "type", json!("Opaque")),
        _ => {}
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.into(), value);
    }
}

fn items<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn network_policy(policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|s| s.is_object()) else { return };
    // The field is required by the schema, and absent means the same as empty (N10).
    set(spec, "podSelector", json!({}));
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            for port in items(rule, "ports") {
                set(port, "protocol", json!("TCP"));
            }
        }
    }
    let is_empty = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || v.as_array().is_some_and(Vec::is_empty));
    if is_empty(spec.get("policyTypes")) {
        // N6: Ingress always, Egress only if there is an egress rule.
        let types = if is_empty(spec.get("egress")) { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec["policyTypes"] = types;
    }
}

fn namespace(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    // N27: the label is the server's, whatever the client sent.
    if namespace["metadata"]["labels"].is_null() {
        namespace["metadata"]["labels"] = json!({});
    }
    if namespace["metadata"]["labels"].is_object() && name.as_str().is_some_and(|n| !n.is_empty()) {
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
    set(namespace, "spec", json!({}));
    set(namespace, "status", json!({}));
    if namespace["spec"].is_object() {
        set(&mut namespace["spec"], "finalizers", json!(["kubernetes"]));
    }
    set(&mut namespace["status"], "phase", json!("Active"));
}

fn pod(pod: &mut Value) {
    set(pod, "status", json!({}));
    set(&mut pod["status"], "phase", json!("Pending"));
    let quality = quality_of_service(&pod["spec"]);
    set(&mut pod["status"], "qosClass", json!(quality));
    let Some(spec) = pod.get_mut("spec").filter(|s| s.is_object()) else { return };
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
    ] {
        set(spec, key, value);
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            self::container(container, host_network);
        }
    }
}

fn container(container: &mut Value, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    // A tag of its own is taken to stay what it is; `latest` or none is not.
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let pull = if matches!(tag, None | Some("latest")) && !image.contains('@') { "Always" } else { "IfNotPresent" };
    for (key, value) in [
        ("imagePullPolicy", json!(pull)),
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
        ("resources", json!({})),
    ] {
        set(container, key, value);
    }
    for port in items(container, "ports") {
        set(port, "protocol", json!("TCP"));
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    }
    for variable in items(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name).filter(|p| p.is_object()) else { continue };
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            set(probe, key, json!(value));
        }
        if let Some(get) = probe.get_mut("httpGet") {
            set(get, "path", json!("/"));
            set(get, "scheme", json!("HTTP"));
        }
    }
}

fn quality_of_service(spec: &Value) -> &'static str {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |c: &Value, list: &str, key: &str| !c["resources"][list][key].is_null();
    let any = |c: &Value| ["cpu", "memory"].iter().any(|k| has(c, "limits", k) || has(c, "requests", k));
    let full = |c: &Value| {
        ["cpu", "memory"].iter().all(|k| {
            let (limit, request) = (&c["resources"]["limits"][k], &c["resources"]["requests"][k]);
            !limit.is_null() && (request.is_null() || request == limit)
        })
    };
    match containers {
        [] => "BestEffort",
        all if all.iter().all(full) => "Guaranteed",
        some if some.iter().any(any) => "Burstable",
        _ => "BestEffort",
    }
}

fn service(service: &mut Value) {
    set(service, "status", json!({ "loadBalancer": {} }));
    let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return };
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        if !spec["sessionAffinityConfig"]["clientIP"].is_object() {
            spec["sessionAffinityConfig"] = json!({ "clientIP": {} });
        }
        set(&mut spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds", json!(10_800));
    }
    for port in items(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resources::{NETWORK_POLICY, POD};

    #[test]
    fn policy_types_follow_n6() {
        for (egress, expected) in [
            (json!(null), json!(["Ingress"])),
            (json!([]), json!(["Ingress"])),
            (json!([{}]), json!(["Ingress", "Egress"])),
        ] {
            let mut policy = json!({ "spec": { "egress": egress } });
            fill(NETWORK_POLICY, &mut policy);
            assert_eq!(policy["spec"]["policyTypes"], expected);
            assert_eq!(policy["spec"]["podSelector"], json!({}));
        }
    }

    #[test]
    fn protocol_and_probe_defaults() {
        let mut policy = json!({ "spec": { "ingress": [{ "ports": [{ "port": 80 }, { "protocol": "UDP" }] }] } });
        fill(NETWORK_POLICY, &mut policy);
        assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(policy["spec"]["ingress"][0]["ports"][1]["protocol"], "UDP");

        let probe = json!({ "httpGet": { "port": 80 } });
        let mut pod =
            json!({ "spec": { "containers": [{ "name": "a", "image": "netpol", "readinessProbe": probe }] } });
        fill(POD, &mut pod);
        assert_eq!(pod["spec"]["containers"][0]["readinessProbe"]["periodSeconds"], 10);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
    }
}
