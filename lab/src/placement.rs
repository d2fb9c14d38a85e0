//! Which nodes may take a pod: nodeSelector, required affinity to nodes, taints, required anti-affinity between pods.

use std::sync::Arc;

use serde_json::Value;

use crate::api::Object;

/// Refuses by name what the lab's scheduler does not know and must not ignore.
///
/// # Errors
/// A sentence that names it.
pub(crate) fn supported(spec: &Value) -> Result<(), String> {
    let affinity = &spec["affinity"];
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let refuse = |what: &str| Err(format!("{what} is not supported by the lab's scheduler"));
    if !affinity["podAffinity"][required].is_null() {
        return refuse("required podAffinity");
    }
    for constraint in list(&spec["topologySpreadConstraints"]) {
        if constraint["whenUnsatisfiable"] != "ScheduleAnyway" {
            return refuse("topologySpreadConstraints with whenUnsatisfiable DoNotSchedule");
        }
    }
    for term in list(&affinity["podAntiAffinity"][required]) {
        if !term["namespaceSelector"].is_null() {
            return refuse("namespaceSelector of podAntiAffinity");
        }
    }
    Ok(())
}

/// Why `node` cannot take `pod`, in the words of the real scheduler.
pub(crate) fn problem(pod: &Value, node: &Value, pods: &[Arc<Object>]) -> Option<String> {
    let spec = &pod["spec"];
    if let Some(taint) = list(&node["spec"]["taints"])
        .find(|taint| taint["effect"] != "PreferNoSchedule" && !list(&spec["tolerations"]).any(|t| tolerates(t, taint)))
    {
        let (key, value) = (text(&taint["key"]), text(&taint["value"]));
        return Some(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    if node["spec"]["unschedulable"] == true {
        return Some("node(s) were unschedulable".into());
    }
    let labels = &node["metadata"]["labels"];
    let selected = spec["nodeSelector"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let affine = terms.is_null() || list(terms).any(|term| term_matches(term, node));
    if !selected || !affine {
        return Some("node(s) didn't match Pod's node affinity/selector".into());
    }
    repelled(pod, node, pods).then(|| "node(s) didn't match pod anti-affinity rules".into())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let same = |field: &str| text(&toleration[field]) == text(&taint[field]);
    let effect = text(&toleration["effect"]).is_empty() || same("effect");
    let key = if text(&toleration["key"]).is_empty() { toleration["operator"] == "Exists" } else { same("key") };
    effect && key && (toleration["operator"] == "Exists" || same("value"))
}

/// A term without expressions matches nothing.
fn term_matches(term: &Value, node: &Value) -> bool {
    let (by_label, by_field) = (&term["matchExpressions"], &term["matchFields"]);
    let label = |key: &str| node["metadata"]["labels"][key].as_str();
    let field = |key: &str| (key == "metadata.name").then(|| text(&node["metadata"]["name"]));
    (list(by_label).next().is_some() || list(by_field).next().is_some())
        && list(by_label).all(|expression| expression_matches(expression, label(text(&expression["key"]))))
        && list(by_field).all(|expression| expression_matches(expression, field(text(&expression["key"]))))
}

fn expression_matches(expression: &Value, value: Option<&str>) -> bool {
    let values: Vec<&str> = list(&expression["values"]).map(text).collect();
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |holds: fn(&i64, &i64) -> bool| {
        let limit = values.first().copied().and_then(number);
        value.and_then(number).zip(limit).is_some_and(|(value, limit)| holds(&value, &limit))
    };
    match text(&expression["operator"]) {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// Whether a pod does not bear certain others on its node: required anti-affinity.
pub(crate) fn repels_others(pod: &Value) -> bool {
    list(anti_affinity(pod)).next().is_some()
}

fn anti_affinity(pod: &Value) -> &Value {
    &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
}

/// Whether a pod on the node repels this one, or the other way round.
fn repelled(pod: &Value, node: &Value, pods: &[Arc<Object>]) -> bool {
    let here = |topology: &str, other: &Value| {
        // The lab's nodes have one label that tells them apart.
        topology == "kubernetes.io/hostname" && other["spec"]["nodeName"] == node["metadata"]["name"]
    };
    let repels = |this: &Value, other: &Value| {
        let own = &this["metadata"]["namespace"];
        list(anti_affinity(this)).any(|term| {
            let mut namespaces = list(&term["namespaces"]).peekable();
            let namespace = &other["metadata"]["namespace"];
            let seen = if namespaces.peek().is_none() { namespace == own } else { namespaces.any(|n| n == namespace) };
            seen && selects(&term["labelSelector"], &other["metadata"]["labels"])
        })
    };
    pods.iter().map(|other| other.value()).filter(|other| other["metadata"]["uid"] != pod["metadata"]["uid"]).any(
        |other| {
            let over = matches!(text(&other["status"]["phase"]), "Succeeded" | "Failed");
            !over && here("kubernetes.io/hostname", other) && (repels(pod, other) || repels(other, pod))
        },
    )
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let expressions = list(&selector["matchExpressions"]);
    let by_expression = |e: &Value| expression_matches(e, labels[text(&e["key"])].as_str());
    !selector.is_null() && exact && expressions.into_iter().all(by_expression)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Value {
        json!({
            "metadata": {"name": "worker-1", "labels": {"disk": "ssd", "cores": "4"}},
            "spec": {"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]},
        })
    }

    fn pod(spec: Value) -> Value {
        let mut spec = spec;
        if spec["tolerations"].is_null() {
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        }
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "p", "labels": {"app": "web"}}, "spec": spec})
    }

    #[test]
    fn nodes_are_matched_by_selector_affinity_and_taints() {
        let affinity = |term: Value| {
            let terms = json!({"nodeSelectorTerms": [term]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
        };
        let expression = |key: &str, operator: &str, values: Value| {
            affinity(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        let fits = |spec: Value| problem(&pod(spec), &node(), &[]).is_none();
        assert!(fits(json!({})) && fits(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!fits(json!({"nodeSelector": {"disk": "tape"}})));
        assert!(fits(expression("disk", "In", json!(["ssd"]))) && !fits(expression("disk", "NotIn", json!(["ssd"]))));
        assert!(fits(expression("cores", "Gt", json!(["3"]))) && !fits(expression("cores", "Lt", json!(["3"]))));
        assert!(fits(expression("gpu", "DoesNotExist", json!([]))) && !fits(expression("gpu", "Exists", json!([]))));
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker-1"]}]});
        assert!(fits(affinity(by_name)) && !fits(affinity(json!({}))));
        assert!(!fits(json!({"tolerations": [{"key": "team", "operator": "Equal", "value": "b"}]})));
        assert!(fits(json!({"tolerations": [{"key": "team", "operator": "Equal", "value": "a"}]})));
    }

    #[test]
    fn pods_repel_each_other_by_host() {
        let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
        let spec = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        let mut other = pod(json!({"nodeName": "worker-1"}));
        other["metadata"]["uid"] = "other".into();
        let on_node = |other: Value| vec![Arc::new(Object::new(other, 1))];
        assert!(problem(&pod(spec.clone()), &node(), &on_node(other.clone())).is_some());
        other["metadata"]["labels"]["app"] = "database".into();
        assert!(problem(&pod(spec.clone()), &node(), &on_node(other.clone())).is_none());
        other["metadata"]["labels"]["app"] = "web".into();
        other["metadata"]["namespace"] = "elsewhere".into();
        assert!(problem(&pod(spec), &node(), &on_node(other)).is_none());
    }
}
