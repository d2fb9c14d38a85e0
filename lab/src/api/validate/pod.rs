//! Rules of pods: what the lab's kubelet relies on, and what must not change once a pod exists.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::metadata::is_dns_label;
use crate::api::status::Cause;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

pub(super) fn check(pod: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &pod["spec"];
    if !spec.is_object() {
        return vec![Cause::required("spec", "a pod needs a spec")];
    }
    match spec["containers"].as_array() {
        Some(list) if !list.is_empty() => {}
        _ => causes.push(Cause::required("spec.containers", "")),
    }
    let policy = &spec["restartPolicy"];
    if !policy.as_str().is_some_and(|p| RESTART_POLICIES.contains(&p)) {
        causes.push(Cause::not_supported("spec.restartPolicy", policy, &RESTART_POLICIES));
    }
    let mut names = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (i, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{i}]");
            match container["name"].as_str() {
                None | Some("") => causes.push(Cause::required(format!("{path}.name"), "")),
                Some(name) if !is_dns_label(name) => {
                    causes.push(Cause::invalid(format!("{path}.name"), &container["name"], "must be a DNS label"));
                }
                Some(name) if !names.insert(name) => {
                    causes.push(Cause::duplicate(format!("{path}.name"), &container["name"]));
                }
                Some(_) => {}
            }
            if container["image"].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("{path}.image"), ""));
            }
            for (j, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
                check_port(&format!("{path}.ports[{j}]"), port, &mut causes);
            }
        }
    }
    causes
}

fn check_port(path: &str, port: &Value, causes: &mut Vec<Cause>) {
    let number = &port["containerPort"];
    if number.is_null() {
        causes.push(Cause::required(format!("{path}.containerPort"), ""));
    } else if !number.as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
        causes.push(Cause::invalid(format!("{path}.containerPort"), number, "must be between 1 and 65535, inclusive"));
    }
    if !port["protocol"].as_str().is_some_and(|p| PROTOCOLS.contains(&p)) {
        causes.push(Cause::not_supported(format!("{path}.protocol"), &port["protocol"], &PROTOCOLS));
    }
}

/// Of a pod's spec only images, `activeDeadlineSeconds`, tolerations and `terminationGracePeriodSeconds` may change.
pub(super) fn check_update(present: &Value, next: &Value) -> Vec<Cause> {
    let blank = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            spec[key] = Value::Null;
        }
        for list in ["initContainers", "containers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    if blank(present) == blank(next) {
        return Vec::new();
    }
    let detail = "pod updates may not change fields other than `spec.containers[*].image`, \
                  `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` or \
                  `spec.terminationGracePeriodSeconds`";
    vec![Cause::forbidden("spec", detail)]
}
