//! Parameters: every combination of their values is a case.

use serde_json::{Map, Value};

use crate::decode::Report;
use crate::plan::placeholder::{join, map_strings, replace};

/// One combination of parameters, in the order in which the suite names them.
pub(super) type Combination = Vec<(String, Value)>;

/// Every combination; the empty one alone where there are no parameters.
pub(super) fn combinations(parameters: Option<&Value>, report: &mut Report) -> Vec<Combination> {
    let mut combinations = vec![Vec::new()];
    let Some(parameters) = parameters else { return combinations };
    for (name, values) in report.decode::<Map<String, Value>>(parameters, "parameters").unwrap_or_default() {
        let path = join("parameters", &name);
        let values = report.decode::<Vec<Value>>(&values, &path).unwrap_or_default();
        if values.is_empty() {
            report.add(&path, format!("parameter '{name}' has no values"), "write a list of values, or take it away");
        }
        for (index, value) in values.iter().enumerate() {
            let place = format!("{path}[{index}]");
            if value.is_array() || value.is_object() || value.is_null() {
                report.add(
                    &place,
                    "a parameter's value is text, a number or a boolean".to_owned(),
                    "write such a value",
                );
            }
            if values.iter().take(index).any(|earlier| earlier == value) {
                report.add(&place, format!("the value {value} is there twice"), "remove one of them");
            }
        }
        combinations = combinations
            .into_iter()
            .flat_map(|before: Combination| {
                let name = name.clone();
                values.iter().map(move |value| {
                    let mut longer = before.clone();
                    longer.push((name.clone(), value.clone()));
                    longer
                })
            })
            .collect();
    }
    combinations
}

/// `[proto=TCP,port=80]`, or nothing.
pub(super) fn suffix(combination: &Combination) -> String {
    if combination.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = combination.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
    format!("[{}]", pairs.join(","))
}

/// The document with `${parameter}` replaced in every string. A string that is nothing but a parameter becomes its value, so that
/// a number stays a number. Placeholders with a colon are left for later.
pub(super) fn substitute(document: &Value, combination: &Combination, report: &mut Report) -> Value {
    let value_of = |inner: &str| combination.iter().find(|(name, _)| name == inner).map(|(_, value)| value);
    map_strings(document, "", &mut |text, place| {
        let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        if let Some(value) = whole.and_then(value_of) {
            return value.clone();
        }
        let replaced = replace(text, |inner| match value_of(inner) {
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
