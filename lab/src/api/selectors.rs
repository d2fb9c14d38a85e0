//! Label and field selectors as query strings: `app=x,tier in (a,b),!old` and `spec.nodeName=worker-1`.

use serde_json::Value;

use super::forms;
use super::resources::{EVENT, Kind, POD};
use super::status::Status;

/// A parsed `labelSelector`. The empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

impl LabelSelector {
    /// Parses equality (`=`, `==`, `!=`) and set syntax (`in`, `notin`, `key`, `!key`).
    ///
    /// # Errors
    /// 400 with the part that could not be read.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(unreadable("label", text));
            }
            requirements.push(Requirement::parse(part).ok_or_else(|| unreadable("label", part))?);
        }
        Ok(Self(requirements))
    }

    /// Whether an object with these `labels` (a JSON map or null) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels[key].as_str().is_some_and(|v| values.iter().any(|x| x == v)),
            // NotIn also selects objects without the key (N26).
            Requirement::NotIn(key, values) => !labels[key].as_str().is_some_and(|v| values.iter().any(|x| x == v)),
            Requirement::Exists(key) => labels[key].is_string(),
            Requirement::DoesNotExist(key) => !labels[key].is_string(),
        })
    }
}

impl Requirement {
    fn parse(part: &str) -> Option<Self> {
        if let Some(key) = part.strip_prefix('!') {
            return Some(Self::DoesNotExist(label_key(key)?));
        }
        if let Some((key, value)) = part.split_once("!=") {
            return Some(Self::NotIn(label_key(key)?, vec![label_value(value)?]));
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Some(Self::In(label_key(key)?, vec![label_value(value)?]));
        }
        let Some((head, set)) = part.split_once('(') else {
            return Some(Self::Exists(label_key(part)?));
        };
        let values: Option<Vec<_>> = set.strip_suffix(')')?.split(',').map(label_value).collect();
        let mut words = head.split_whitespace();
        let (key, operator) = (label_key(words.next()?)?, words.next()?);
        match (operator, words.next()) {
            ("in", None) => Some(Self::In(key, values?)),
            ("notin", None) => Some(Self::NotIn(key, values?)),
            _ => None,
        }
    }
}

fn label_key(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!text.is_empty() && text.chars().all(legal)).then(|| text.into())
}

fn label_value(text: &str) -> Option<String> {
    let text = text.trim();
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)).then(|| text.into())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unreadable(which: &str, part: &str) -> Status {
    Status::bad_request(format!("unable to parse {which} selector requirement {part:?}"))
}

/// A parsed `fieldSelector`. The empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Parses `field=value`, `field==value` and `field!=value`, joined by commas.
    ///
    /// # Errors
    /// 400 if the text cannot be read or the kind does not offer the field.
    pub fn parse(kind: &'static Kind, text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(unreadable("field", part));
            };
            let stored = forms::stored_field(kind, field);
            if !offers(kind.stored(), &stored) {
                return Err(Status::bad_request(format!("field label not supported for {}: {field}", kind.kind)));
            }
            terms.push((stored, equal, value.into()));
        }
        Ok(Self(terms))
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let found = match object.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                // The reporting component of an event that has only the older field `source`.
                None if field == "reportingComponent" => object["source"]["component"].as_str().unwrap_or("").into(),
                _ => String::new(),
            };
            (found == *wanted) == *equal
        })
    }
}

fn offers(kind: &'static Kind, field: &str) -> bool {
    if field == "metadata.name" || (field == "metadata.namespace" && kind.namespaced) {
        return true;
    }
    match kind {
        k if *k == *POD => matches!(
            field,
            "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "spec.hostNetwork"
                | "status.phase"
                | "status.podIP"
                | "status.nominatedNodeName"
        ),
        k if *k == *EVENT => {
            field.starts_with("involvedObject.") || matches!(field, "reason" | "source" | "reportingComponent" | "type")
        }
        k if k.kind == "Namespace" => field == "status.phase",
        k if k.kind == "Node" => field == "spec.unschedulable",
        k if k.kind == "Secret" => field == "type",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(selector: &str, labels: Value) -> bool {
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn equality_and_set_syntax() {
        let labels = json!({ "app": "server", "tier": "a" });
        for hit in ["", "app=server", "app==server,tier!=b", "tier in (a, b)", "app,!old", "zone notin (x)", "zone!=x"]
        {
            assert!(selects(hit, labels.clone()), "{hit}");
        }
        for miss in ["app=client", "app!=server", "tier notin (a,b)", "!app", "old", "zone in (x)"] {
            assert!(!selects(miss, labels.clone()), "{miss}");
        }
        for bad in ["app in a", "a=b=c d", "app in (a", ",", "app near (a)", "=x"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_are_those_the_kind_offers() {
        let pod = json!({ "metadata": { "name": "a" }, "spec": { "nodeName": "n1" } });
        let selects = |text| FieldSelector::parse(POD, text).unwrap().matches(&pod);
        assert!(selects("spec.nodeName=n1,metadata.name!=b"));
        assert!(selects("status.phase!=Failed"));
        assert!(!selects("spec.nodeName="));
        assert_eq!(FieldSelector::parse(POD, "spec.colour=red").unwrap_err().code, 400);
    }
}
