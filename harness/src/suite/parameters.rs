//! Parameters: every combination of their values is a case.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::decode::Report;
use crate::plan::placeholder::{join, map_strings, replace};

/// One combination of parameters.
#[derive(Clone, Default)]
pub(super) struct Combination {
    /// Each parameter's value, in the order in which the suite names them.
    chosen: Vec<(String, Value)>,
    /// The fields of chosen variants, by `parameter.field`.
    fields: BTreeMap<String, Value>,
}

impl Combination {
    fn with(&self, name: &str, option: &Choice) -> Combination {
        let mut longer = self.clone();
        longer.chosen.push((name.to_owned(), option.value.clone()));
        let fields = option.fields.iter().map(|(field, value)| (format!("{name}.{field}"), value.clone()));
        longer.fields.extend(fields);
        longer
    }

    fn value_of(&self, inner: &str) -> Option<&Value> {
        let chosen = self.chosen.iter().find(|(name, _)| name == inner).map(|(_, value)| value);
        chosen.or_else(|| self.fields.get(inner))
    }
}

/// A value that a parameter can take.
struct Choice {
    value: Value,
    /// What a variant's name stands for.
    fields: Map<String, Value>,
}

/// Every combination; the empty one alone where there are no parameters.
pub(super) fn combinations(parameters: Option<&Value>, report: &mut Report) -> Vec<Combination> {
    let mut combinations = vec![Combination::default()];
    let Some(parameters) = parameters else { return combinations };
    for (name, values) in report.decode::<Map<String, Value>>(parameters, "parameters").unwrap_or_default() {
        let path = join("parameters", &name);
        let choices = match &values {
            Value::Object(variants) => variant_choices(variants, &path, report),
            _ => plain_choices(&values, &path, report),
        };
        if choices.is_empty() {
            report.add(&path, format!("parameter '{name}' has no values"), "write a list of values, or take it away");
        }
        let longer = |before: Combination| choices.iter().map(|choice| before.with(&name, choice)).collect::<Vec<_>>();
        combinations = combinations.into_iter().flat_map(longer).collect();
    }
    combinations
}

/// `[TCP, UDP]`: values that stand for themselves.
fn plain_choices(values: &Value, path: &str, report: &mut Report) -> Vec<Choice> {
    let values = report.decode::<Vec<Value>>(values, path).unwrap_or_default();
    for (index, value) in values.iter().enumerate() {
        let place = format!("{path}[{index}]");
        if value.is_array() || value.is_object() || value.is_null() {
            let what = "a parameter's value is text, a number or a boolean".to_owned();
            report.add(&place, what, "write such a value, or name variants: `parameter: {variant: {field: …}}`");
        }
        if values.iter().take(index).any(|earlier| earlier == value) {
            report.add(&place, format!("the value {value} is there twice"), "remove one of them");
        }
    }
    values.into_iter().map(|value| Choice { value, fields: Map::new() }).collect()
}

/// `{any-pod: {peer: {podSelector: {}}, from: x/*}}`: names, each with fields of its own. All variants have the same fields.
fn variant_choices(variants: &Map<String, Value>, path: &str, report: &mut Report) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    for (variant, fields) in variants {
        let place = join(path, variant);
        let Some(fields) = report.decode::<Map<String, Value>>(fields, &place) else { continue };
        let expected = choices.first().map(|first| first.fields.keys().collect::<BTreeSet<_>>());
        if expected.is_some_and(|expected| expected != fields.keys().collect()) {
            let what = format!("variant '{variant}' has other fields than the first one");
            report.add(&place, what, "give each variant the same fields");
        }
        choices.push(Choice { value: Value::String(variant.clone()), fields });
    }
    choices
}

/// `[proto=TCP,port=80]`, or nothing.
pub(super) fn suffix(combination: &Combination) -> String {
    if combination.chosen.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> =
        combination.chosen.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
    format!("[{}]", pairs.join(","))
}

/// The document with `${parameter}` and `${parameter.field}` replaced in every string. A string that is nothing but one of them
/// becomes its value, so that a number stays a number. Placeholders with a colon are left for later.
pub(super) fn substitute(document: &Value, combination: &Combination, report: &mut Report) -> Value {
    map_strings(document, "", &mut |text, place| {
        let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        if let Some(value) = whole.and_then(|inner| combination.value_of(inner)) {
            return value.clone();
        }
        let replaced = replace(text, |inner| match combination.value_of(inner) {
            Some(value) => Ok(Some(plain(value))),
            None if inner.contains(':') => Ok(None),
            None => Err(format!(
                "'${{{inner}}}' is neither a parameter of this suite nor a placeholder such as ${{ip4:POD}}"
            )),
        });
        Value::String(replaced.unwrap_or_else(|whats| {
            for what in whats {
                report.add(place, what, "add it under `parameters:`, or correct its spelling");
            }
            text.to_owned()
        }))
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
