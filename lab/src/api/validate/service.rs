//! Rules of Services, and what the lab's proxy does not do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::metadata::is_dns_label;
use crate::api::status::Cause;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

pub(super) fn check(service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &service["spec"];
    if !spec.is_object() {
        return vec![Cause::required("spec", "a Service needs a spec")];
    }
    let one_of = |field: &str, known: &[&str]| {
        let value = &spec[field];
        let unknown = !value.is_null() && !value.as_str().is_some_and(|value| known.contains(&value));
        unknown.then(|| Cause::not_supported(format!("spec.{field}"), value, known))
    };
    causes.extend(one_of("type", &TYPES));
    causes.extend(one_of("internalTrafficPolicy", &POLICIES));
    causes.extend(one_of("externalTrafficPolicy", &POLICIES));
    causes.extend(one_of("ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]));
    causes.extend(one_of("sessionAffinity", &["ClientIP", "None"]));
    causes.extend(affinity(spec));
    if spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty()) {
        causes.push(Cause::forbidden("spec.externalIPs", "the lab's proxy does not know them: use a NodePort"));
    }
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        match port["name"].as_str().unwrap_or_default() {
            "" if ports.len() > 1 => causes.push(Cause::required(format!("{path}.name"), "")),
            "" => {}
            name if !is_dns_label(name) => {
                causes.push(Cause::invalid(format!("{path}.name"), &port["name"], "must be a DNS label"));
            }
            name if !names.insert(name) => causes.push(Cause::duplicate(format!("{path}.name"), &port["name"])),
            _ => {}
        }
        if !port["protocol"].as_str().is_some_and(|protocol| PROTOCOLS.contains(&protocol)) {
            causes.push(Cause::not_supported(format!("{path}.protocol"), &port["protocol"], &PROTOCOLS));
        }
        if !is_port(&port["port"]) {
            let detail = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(format!("{path}.port"), &port["port"], detail));
        }
        if !numbers.insert((port["protocol"].to_string(), port["port"].to_string())) {
            causes.push(Cause::duplicate(path.clone(), port));
        }
        causes.extend(target_port(&path, &port["targetPort"]));
    }
    causes
}

/// A day at most.
const LONGEST_AFFINITY: i64 = 86_400;

fn affinity(spec: &Value) -> Option<Cause> {
    let config = &spec["sessionAffinityConfig"];
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            let seconds = &config["clientIP"]["timeoutSeconds"];
            let good = seconds.as_i64().is_some_and(|seconds| (1..=LONGEST_AFFINITY).contains(&seconds));
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            (!good).then(|| Cause::invalid(field, seconds, "must be greater than 0 and less than 86400"))
        }
        Some("None") if !config.is_null() => {
            let detail = "must not be set when session affinity is None";
            Some(Cause::forbidden("spec.sessionAffinityConfig", detail))
        }
        _ => None,
    }
}

fn is_port(number: &Value) -> bool {
    number.as_i64().is_some_and(|number| (1..=65_535).contains(&number))
}

fn target_port(path: &str, target: &Value) -> Option<Cause> {
    let field = format!("{path}.targetPort");
    match target.as_str() {
        None if target.is_null() || is_port(target) => None,
        None => Some(Cause::invalid(field, target, "must be between 1 and 65535, inclusive")),
        Some(name) => {
            let letters = name.chars().any(|c| c.is_ascii_lowercase());
            let good = name.len() <= 15 && is_dns_label(name) && letters && !name.contains("--");
            let detail = "must be a name of at most 15 lower case letters, digits and '-', with a letter in it";
            (!good).then(|| Cause::invalid(field, target, detail))
        }
    }
}

/// The first address stays; a second family may come and go.
pub(super) fn check_update(present: &Value, next: &Value) -> Vec<Cause> {
    let (before, after) = (&present["spec"], &next["spec"]);
    let of_cluster = |spec: &Value| spec["type"] != "ExternalName";
    let first = |spec: &Value, key: &str| spec[key][0].clone();
    let mut causes = Vec::new();
    if of_cluster(before) && of_cluster(after) {
        for key in ["clusterIPs", "ipFamilies"] {
            if !first(before, key).is_null() && first(before, key) != first(after, key) {
                let field = format!("spec.{key}[0]");
                causes.push(Cause::invalid(field, &after[key], "may not change once set"));
            }
        }
    }
    causes
}
