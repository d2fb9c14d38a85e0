//! Tables: the rows that `kubectl get` prints, made by the server. Kinds without columns of their own have NAME and
//! AGE.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::Object;
use super::parameters::Parameters;
use super::resources::Kind;
use super::status::Status;

/// What of the object each row carries along (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Nothing,
    Metadata,
    Object,
}

impl Content {
    /// # Errors
    /// 400 for another word.
    pub(crate) fn of(parameters: &Parameters) -> Result<Self, Status> {
        match parameters.text("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::Nothing),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!("includeObject={other}: use None, Metadata or Object"))),
        }
    }
}

/// Columns as name, type, and whether they are shown only by `-o wide`.
fn columns(kind: &'static Kind) -> &'static [(&'static str, &'static str, bool)] {
    match kind.kind {
        "Pod" => &[
            ("Name", "string", false),
            ("Ready", "string", false),
            ("Status", "string", false),
            ("Restarts", "string", false),
            ("Age", "string", false),
            ("IP", "string", true),
            ("Node", "string", true),
            ("Nominated Node", "string", true),
            ("Readiness Gates", "string", true),
        ],
        "Node" => &[
            ("Name", "string", false),
            ("Status", "string", false),
            ("Roles", "string", false),
            ("Age", "string", false),
            ("Version", "string", false),
            ("Internal-IP", "string", true),
        ],
        "Namespace" => &[("Name", "string", false), ("Status", "string", false), ("Age", "string", false)],
        "NetworkPolicy" => &[("Name", "string", false), ("Pod-Selector", "string", false), ("Age", "string", false)],
        "Service" => &[
            ("Name", "string", false),
            ("Type", "string", false),
            ("Cluster-IP", "string", false),
            ("Port(s)", "string", false),
            ("Age", "string", false),
            ("Selector", "string", true),
        ],
        "ConfigMap" => &[("Name", "string", false), ("Data", "integer", false), ("Age", "string", false)],
        "Event" => &[
            ("Last Seen", "string", false),
            ("Type", "string", false),
            ("Reason", "string", false),
            ("Object", "string", false),
            ("Source", "string", true),
            ("Message", "string", false),
            ("Name", "string", true),
        ],
        _ => &[("Name", "string", false), ("Age", "string", false)],
    }
}

/// A table of objects. In a watch only the first table has `columnDefinitions`.
pub(crate) fn render(
    kind: &'static Kind,
    objects: &[Arc<Object>],
    version: &str,
    content: Content,
    with_columns: bool,
) -> Value {
    let definitions: Vec<Value> = columns(kind)
        .iter()
        .filter(|_| with_columns)
        .map(|(name, kind, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({ "name": name, "type": kind, "format": format, "description": "", "priority": i32::from(*wide) })
        })
        .collect();
    let row = |object: &Arc<Object>| {
        let mut row = json!({ "cells": cells(kind, object.value()) });
        match content {
            Content::Nothing => {}
            Content::Object => row["object"] = object.value().clone(),
            Content::Metadata => {
                let (kind, api_version) = ("PartialObjectMetadata", "meta.k8s.io/v1");
                let metadata = &object.value()["metadata"];
                row["object"] = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
            }
        }
        row
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": { "resourceVersion": version },
        "columnDefinitions": definitions, "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

fn cells(kind: &'static Kind, object: &Value) -> Value {
    let name = &object["metadata"]["name"];
    let age = age(&object["metadata"]["creationTimestamp"]);
    match kind.kind {
        "Pod" => pod_cells(object, &age),
        "Node" => {
            let ready = condition(object, "Ready") == "True";
            let mut status = if ready { "Ready".to_owned() } else { "NotReady".to_owned() };
            if object["spec"]["unschedulable"] == true {
                status.push_str(",SchedulingDisabled");
            }
            let address = list(&object["status"]["addresses"]).find(|a| a["type"] == "InternalIP");
            let address = or_none(address.map_or(&Value::Null, |a| &a["address"]));
            json!([
                name,
                status,
                roles(object),
                age,
                object["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or(""),
                address
            ])
        }
        "Namespace" => json!([name, object["status"]["phase"], age]),
        "NetworkPolicy" => json!([name, selector(&object["spec"]["podSelector"]), age]),
        "Service" => {
            let spec = &object["spec"];
            let port = |p: &Value| format!("{}/{}", p["port"], p["protocol"].as_str().unwrap_or("TCP"));
            let ports: Vec<String> = list(&spec["ports"]).map(port).collect();
            let ports = if ports.is_empty() { "<none>".into() } else { ports.join(",") };
            json!([name, spec["type"], or_none(&spec["clusterIP"]), ports, age, pairs(&spec["selector"])])
        }
        "ConfigMap" => json!([name, object["data"].as_object().map_or(0, |data| data.len()), age]),
        "Event" => {
            let seen = [&object["lastTimestamp"], &object["eventTime"], &object["metadata"]["creationTimestamp"]];
            let seen = seen.into_iter().find(|time| time.is_string()).unwrap_or(&Value::Null);
            let about = &object["involvedObject"];
            let subject = format!(
                "{}/{}",
                about["kind"].as_str().unwrap_or_default().to_lowercase(),
                about["name"].as_str().unwrap_or_default()
            );
            let source = object["source"]["component"].as_str().or(object["reportingComponent"].as_str());
            let message = object["message"].as_str().unwrap_or_default().trim();
            json!([
                self::age(seen),
                object["type"],
                object["reason"],
                subject,
                source.unwrap_or_default(),
                message,
                name
            ])
        }
        _ => json!([name, age]),
    }
}

fn pod_cells(pod: &Value, age: &str) -> Value {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let total = list(&spec["containers"]).count();
    let ready = list(&status["containerStatuses"]).filter(|c| c["ready"] == true).count();
    let restarts: u64 = list(&status["containerStatuses"]).filter_map(|c| c["restartCount"].as_u64()).sum();
    json!([
        pod["metadata"]["name"],
        format!("{ready}/{total}"),
        pod_status(pod),
        restarts.to_string(),
        age,
        or_none(&status["podIP"]),
        or_none(&spec["nodeName"]),
        "<none>",
        "<none>",
    ])
}

/// The word that tells most about a pod: what a container waits for or ended with, else the phase.
fn pod_status(pod: &Value) -> String {
    let status = &pod["status"];
    let mut word = status["reason"].as_str().or(status["phase"].as_str()).unwrap_or("Unknown").to_owned();
    for container in list(&status["containerStatuses"]) {
        let state = &container["state"];
        if let Some(reason) = state["waiting"]["reason"].as_str() {
            word = reason.to_owned();
        } else if state["terminated"].is_object() {
            word = match (state["terminated"]["reason"].as_str(), state["terminated"]["signal"].as_i64()) {
                (Some(reason), _) => reason.to_owned(),
                (None, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
                _ => format!("ExitCode:{}", state["terminated"]["exitCode"]),
            };
        }
    }
    let initialising = list(&status["initContainerStatuses"]).position(|c| c["state"]["terminated"]["exitCode"] != 0);
    if let Some(position) = initialising {
        let container = &status["initContainerStatuses"][position];
        let state = &container["state"];
        let reason = state["terminated"]["reason"].as_str().or(state["waiting"]["reason"].as_str());
        word = match reason {
            Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
            _ => format!("Init:{position}/{}", list(&pod["spec"]["initContainers"]).count()),
        };
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        word = "Terminating".to_owned();
    }
    word
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let role = |key: &String| key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned);
    let roles: Vec<String> = labels.into_iter().flatten().filter_map(|(key, _)| role(key)).collect();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn condition<'a>(object: &'a Value, name: &str) -> &'a str {
    let found = list(&object["status"]["conditions"]).find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("Unknown")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn or_none(value: &Value) -> &str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>")
}

fn pairs(labels: &Value) -> String {
    let pair = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    let pairs: Vec<String> = labels.as_object().into_iter().flatten().map(pair).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A label selector as one line: `app=server,tier in (a,b),!old`; `<none>` selects everything.
fn selector(selector: &Value) -> String {
    let mut terms: Vec<String> = Vec::new();
    if selector["matchLabels"].is_object() {
        terms.push(pairs(&selector["matchLabels"]));
    }
    for expression in list(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = list(&expression["values"]).filter_map(Value::as_str).collect();
        terms.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() { "<none>".into() } else { terms.join(",") }
}

/// How long ago, in at most two units, as kubectl writes it: `42s`, `3m7s`, `5h`, `12d`.
fn age(since: &Value) -> String {
    let Some(since) = since.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".into();
    };
    let seconds = (Timestamp::now().as_second() - since.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |large: i64, unit: &str, small: i64, sub: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{sub}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_like_kubectl() {
        let both = json!({ "matchLabels": { "app": "server" }, "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["a", "b"] }, { "key": "old", "operator": "DoesNotExist" },
        ] });
        assert_eq!(selector(&both), "app=server,tier in (a,b),!old");
        assert_eq!(selector(&json!({})), "<none>");
    }

    #[test]
    fn a_pod_says_what_its_containers_wait_for() {
        let waiting = json!({ "waiting": { "reason": "ErrImagePull" } });
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{}] }, "status": {
            "phase": "Pending", "containerStatuses": [{ "ready": false, "restartCount": 2, "state": waiting }],
        } });
        assert_eq!(pod_status(&pod), "ErrImagePull");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(pod_status(&pod), "Terminating");
    }
}
