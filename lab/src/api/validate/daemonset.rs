//! The rule of DaemonSets that a manifest breaks most easily.

use serde_json::Value;

use crate::api::status::Cause;

/// The selector has to select the pods of the template. Its expressions are taken as they come.
pub(super) fn check(object: &Value) -> Vec<Cause> {
    let template = &object["spec"]["template"]["metadata"]["labels"];
    let selector = &object["spec"]["selector"];
    let labels = selector["matchLabels"].as_object();
    let matches = labels.is_some_and(|labels| labels.iter().all(|(key, value)| template[key] == *value));
    if matches || (labels.is_none() && selector["matchExpressions"].is_array()) {
        return Vec::new();
    }
    let message = "`selector` does not match template `labels`";
    vec![Cause::invalid("spec.template.metadata.labels", template, message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selector_of_other_pods_is_refused() {
        let daemon_set = |label: &str| {
            json!({ "spec": {
                "selector": { "matchLabels": { "app": "a" } },
                "template": { "metadata": { "labels": { "app": label, "more": "b" } } },
            } })
        };
        assert!(check(&daemon_set("a")).is_empty());
        assert_eq!(check(&daemon_set("b")).len(), 1);
        assert_eq!(check(&json!({ "spec": {} })).len(), 1);
    }
}
