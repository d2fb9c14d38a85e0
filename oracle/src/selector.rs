//! Label selectors (N25, N26) and what makes one invalid (V16).

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::cluster::Labels;
use crate::invalid::{Cause, Complaints};

/// Requirements that must all hold; none at all match everything (N25).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether it holds no requirement, and so matches everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                // Also objects without the key (N26).
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Reads a selector at `field`, adding to `complaints` what is wrong with it.
    pub(crate) fn compile(selector: &LabelSelector, field: &str, complaints: &mut Complaints) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let place = format!("{field}.matchLabels");
            check_key(key, &place, complaints);
            check_value(value, &place, complaints);
            let operator = Operator::In(BTreeSet::from([value.clone()]));
            requirements.push(Requirement { key: key.clone(), operator });
        }
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let place = format!("{field}.matchExpressions[{index}]");
            check_key(&expression.key, &format!("{place}.key"), complaints);
            if let Some(operator) = compile_operator(expression, &place, complaints) {
                requirements.push(Requirement { key: expression.key.clone(), operator });
            }
        }
        Selector(requirements)
    }
}

fn compile_operator(
    expression: &LabelSelectorRequirement,
    place: &str,
    complaints: &mut Complaints,
) -> Option<Operator> {
    let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
    let field = format!("{place}.values");
    for value in &values {
        check_value(value, &field, complaints);
    }
    let operator = expression.operator.as_str();
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let what = format!("operator {operator} needs at least one value");
            complaints.add(16, Cause::FieldValueRequired, &field, what);
            None
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let what = format!("operator {operator} takes no values");
            complaints.add(16, Cause::FieldValueForbidden, &field, what);
            None
        }
        "In" => Some(Operator::In(values)),
        "NotIn" => Some(Operator::NotIn(values)),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        other => {
            let what = format!("'{other}' is not an operator: In, NotIn, Exists, DoesNotExist are");
            complaints.add(16, Cause::FieldValueInvalid, &format!("{place}.operator"), what);
            None
        }
    }
}

/// A label's key: a name of at most 63 characters, before it perhaps a DNS subdomain and a slash.
fn check_key(key: &str, field: &str, complaints: &mut Complaints) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) || !is_label_word(name) {
        let what = format!("'{key}' is not a label key");
        complaints.add(16, Cause::FieldValueInvalid, field, what);
    }
}

/// A label's value: empty, or like a name.
fn check_value(value: &str, field: &str, complaints: &mut Complaints) {
    if !value.is_empty() && !is_label_word(value) {
        let what = format!("'{value}' is not a label value");
        complaints.add(16, Cause::FieldValueInvalid, field, what);
    }
}

fn is_label_word(word: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = word.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A DNS subdomain: at most 253 characters, dot-separated labels of lower-case letters, digits and inner hyphens (V17).
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().copied().is_some_and(lower)
                && bytes.last().copied().is_some_and(lower)
                && bytes.iter().all(|byte| lower(*byte) || *byte == b'-')
        })
}
