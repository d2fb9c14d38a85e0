//! Label selectors, matched by the enforcer's own code (N25, N26).
//!
//! The oracle has its own as well, on purpose: a helper that both shared would be a bug that both shared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// The labels of a pod or of a namespace.
pub type Labels = BTreeMap<String, String>;

/// A label selector: all of its requirements hold. Without any it matches everything (N25).
///
/// Requirements are ordered, so that two selectors that say the same are equal and have the same text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

/// One requirement of a selector (N26).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// The label exists and has one of these values; a `matchLabels` entry is one with a single value.
    In(String, BTreeSet<String>),
    /// The label has none of these values; an object without the label matches.
    NotIn(String, BTreeSet<String>),
    /// The label exists, whatever its value.
    Exists(String),
    /// The label does not exist.
    DoesNotExist(String),
}

/// Why a selector cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator is none of In, NotIn, Exists, DoesNotExist.
    #[error("matchExpressions on {key:?}: unknown operator {operator:?}; use In, NotIn, Exists or DoesNotExist")]
    Operator {
        /// The label's key.
        key: String,
        /// The operator as written.
        operator: String,
    },
    /// In or NotIn without values, or Exists or DoesNotExist with some.
    #[error("matchExpressions on {key:?}: {operator} with {count} values")]
    Values {
        /// The label's key.
        key: String,
        /// The operator as written.
        operator: String,
        /// How many values were given.
        count: usize,
    },
}

impl Selector {
    /// Reads an API selector. Fails on an operator that is not known, or with the wrong number of values.
    pub fn read(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = BTreeSet::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.insert(Requirement::In(key.clone(), BTreeSet::from([value.clone()])));
        }
        for expression in selector.match_expressions.iter().flatten() {
            requirements.insert(Requirement::read(expression)?);
        }
        Ok(Self { requirements })
    }

    /// Whether an object with these labels is selected (N26).
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn read(expression: &LabelSelectorRequirement) -> Result<Self, SelectorError> {
        let key = expression.key.clone();
        let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
        match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(Self::In(key, values)),
            ("NotIn", false) => Ok(Self::NotIn(key, values)),
            ("Exists", true) => Ok(Self::Exists(key)),
            ("DoesNotExist", true) => Ok(Self::DoesNotExist(key)),
            (operator @ ("In" | "NotIn" | "Exists" | "DoesNotExist"), _) => {
                Err(SelectorError::Values { key, operator: operator.to_owned(), count: values.len() })
            }
            (operator, _) => Err(SelectorError::Operator { key, operator: operator.to_owned() }),
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("*");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join("|");
        match self {
            Self::In(key, values) => write!(f, "{key}={}", list(values)),
            Self::NotIn(key, values) => write!(f, "{key}!={}", list(values)),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(yaml: &str) -> Result<Selector, SelectorError> {
        Selector::read(&serde_yaml::from_str(yaml).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(selector("{}").unwrap().matches(&labels(&[])));
        assert!(selector("{}").unwrap().matches(&labels(&[("a", "b")])));
    }

    #[test]
    fn every_requirement_must_hold() {
        let both = selector("{matchLabels: {a: x}, matchExpressions: [{key: b, operator: Exists}]}").unwrap();
        assert!(both.matches(&labels(&[("a", "x"), ("b", "")])));
        assert!(!both.matches(&labels(&[("a", "x")])));
        assert!(!both.matches(&labels(&[("a", "y"), ("b", "")])));
    }

    #[test]
    fn not_in_matches_objects_without_the_key() {
        let not = selector("{matchExpressions: [{key: a, operator: NotIn, values: [x, y]}]}").unwrap();
        assert!(not.matches(&labels(&[])));
        assert!(not.matches(&labels(&[("a", "z")])));
        assert!(!not.matches(&labels(&[("a", "y")])));
    }

    #[test]
    fn in_needs_the_key_and_does_not_exist_its_absence() {
        let one_of = selector("{matchExpressions: [{key: a, operator: In, values: [x, y]}]}").unwrap();
        assert!(one_of.matches(&labels(&[("a", "y")])));
        assert!(!one_of.matches(&labels(&[])));
        let absent = selector("{matchExpressions: [{key: a, operator: DoesNotExist}]}").unwrap();
        assert!(absent.matches(&labels(&[("b", "")])));
        assert!(!absent.matches(&labels(&[("a", "")])));
    }

    #[test]
    fn what_cannot_be_evaluated_is_named() {
        let unknown = selector("{matchExpressions: [{key: a, operator: Near, values: [x]}]}").unwrap_err();
        assert_eq!(unknown, SelectorError::Operator { key: "a".into(), operator: "Near".into() });
        let bare = selector("{matchExpressions: [{key: a, operator: In}]}").unwrap_err();
        assert_eq!(bare, SelectorError::Values { key: "a".into(), operator: "In".into(), count: 0 });
    }
}
