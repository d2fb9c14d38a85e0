//! Logical namespaces and the real ones behind them.

use std::collections::BTreeMap;

use serde_json::Value;

/// The label that every namespace carries (N27).
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The object with real namespaces: its own, and those that its selectors name by [`NAMESPACE_NAME`]. Names that are not
/// logical ones stay, such as `kube-system`.
pub(super) fn real_names(object: &Value, namespaces: &BTreeMap<String, String>) -> Value {
    let mut object = in_selectors(object, namespaces);
    if let Some(Value::String(namespace)) = object.pointer_mut("/metadata/namespace")
        && let Some(real) = namespaces.get(namespace)
    {
        real.clone_into(namespace);
    }
    object
}

fn in_selectors(value: &Value, namespaces: &BTreeMap<String, String>) -> Value {
    let real = |name: &Value| match name.as_str().and_then(|name| namespaces.get(name)) {
        Some(real) => Value::String(real.clone()),
        None => name.clone(),
    };
    match value {
        Value::Array(items) => items.iter().map(|item| in_selectors(item, namespaces)).collect(),
        Value::Object(fields) => {
            // An expression: {key: kubernetes.io/metadata.name, operator: In, values: [x]}.
            let expression = fields.get("key").and_then(Value::as_str) == Some(NAMESPACE_NAME);
            let mapped = fields.iter().map(|(key, item)| {
                let item = match item {
                    Value::String(_) if key == NAMESPACE_NAME => real(item),
                    Value::Array(values) if expression && key == "values" => values.iter().map(real).collect(),
                    other => in_selectors(other, namespaces),
                };
                (key.clone(), item)
            });
            Value::Object(mapped.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces_are_mapped_wherever_a_policy_names_them_and_nowhere_else() {
        let namespaces = BTreeMap::from([("x".to_owned(), "x-r1-w1".to_owned())]);
        let logical = json!({
            "metadata": {"name": "x", "namespace": "x", "labels": {"app": "x"}},
            "spec": {"ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "x", "team": "x"}}},
                {"namespaceSelector": {"matchExpressions": [
                    {"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["x", "kube-system"]},
                    {"key": "team", "operator": "In", "values": ["x"]},
                ]}},
            ]}]},
        });
        let real = json!({
            "metadata": {"name": "x", "namespace": "x-r1-w1", "labels": {"app": "x"}},
            "spec": {"ingress": [{"from": [
                {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "x-r1-w1", "team": "x"}}},
                {"namespaceSelector": {"matchExpressions": [
                    {"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["x-r1-w1", "kube-system"]},
                    {"key": "team", "operator": "In", "values": ["x"]},
                ]}},
            ]}]},
        });
        assert_eq!(real_names(&logical, &namespaces), real);
    }
}
