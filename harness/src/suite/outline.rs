//! The format `netpol.dev/v1alpha1` as it is written: every key it has. Values are decoded one by one behind these outlines, so
//! that one wrong value does not hide the next.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Deserialize;
use serde_json::Value;

/// `apiVersion` of suites.
pub(super) const API_VERSION: &str = "netpol.dev/v1alpha1";

/// A suite.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Suite {
    #[schemars(with = "Option<String>")]
    pub(super) api_version: Option<Value>,
    #[schemars(with = "Option<String>")]
    pub(super) kind: Option<Value>,
    #[schemars(with = "Option<Metadata>")]
    pub(super) metadata: Option<Value>,
    #[schemars(with = "Option<String>")]
    pub(super) description: Option<Value>,
    #[schemars(with = "Option<String>")]
    pub(super) level: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) features: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) rules: Option<Value>,
    #[schemars(with = "Option<String>")]
    pub(super) topology: Option<Value>,
    #[schemars(with = "Option<bool>")]
    pub(super) exclusive: Option<Value>,
    /// Why a case has no scored denied cell, or no scored allowed one.
    #[serde(rename = "one-sided")]
    #[schemars(with = "Option<String>")]
    pub(super) one_sided: Option<Value>,
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub(super) parameters: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) needs: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) endpoints: Option<Value>,
    #[schemars(with = "Option<Vec<AnyProbe>>")]
    pub(super) probes: Option<Value>,
    #[schemars(with = "Option<Vec<Hold>>")]
    pub(super) hold: Option<Value>,
    #[schemars(with = "Option<Vec<Log>>")]
    pub(super) logs: Option<Value>,
    #[schemars(with = "Option<Vec<Step>>")]
    pub(super) steps: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
}

/// A probe with a level of its own; without one it is only a string.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LevelledProbe {
    pub(super) probe: String,
    pub(super) level: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Hold {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) probe: String,
    pub(super) level: Option<String>,
    /// The name of the step after which it is opened; by default before the first one.
    pub(super) after: Option<String>,
}

/// A pod that logs a line per response.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) to: String,
    pub(super) probe: String,
    pub(super) container: Option<String>,
    pub(super) level: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(super) struct Step {
    #[schemars(with = "Option<String>")]
    pub(super) name: Option<Value>,
    #[schemars(with = "Option<Vec<Relabel>>")]
    pub(super) relabel: Option<Value>,
    #[schemars(with = "Option<Vec<Value>>")]
    pub(super) apply: Option<Value>,
    #[schemars(with = "Option<Rejected>")]
    pub(super) rejected: Option<Value>,
    #[schemars(with = "Option<Vec<Patch>>")]
    pub(super) patch: Option<Value>,
    #[schemars(with = "Option<Vec<Reference>>")]
    pub(super) delete: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) recreate: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) create: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) remove: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) complete: Option<Value>,
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) terminate: Option<Value>,
    #[schemars(with = "Option<Restart>")]
    pub(super) restart: Option<Value>,
    #[schemars(with = "Option<String>")]
    pub(super) wait: Option<Value>,
    #[schemars(with = "Option<Expect>")]
    pub(super) expect: Option<Value>,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) held: Option<Value>,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) logs: Option<Value>,
}

/// New labels of a pod or of a namespace; null takes a label away.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Relabel {
    pub(super) pod: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Rejected {
    pub(super) field: String,
    #[serde(rename = "type")]
    pub(super) cause: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Patch {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) patch: Value,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(super) struct Expect {
    #[schemars(with = "Option<Vec<Cells>>")]
    pub(super) deny: Option<Vec<Value>>,
    #[schemars(with = "Option<Vec<Cells>>")]
    pub(super) allow: Option<Vec<Value>>,
}

/// The cells between some pods; all of the suite's probes where it names none.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Cells {
    pub(super) from: OneOrMore,
    pub(super) to: OneOrMore,
    pub(super) probes: Option<OneOrMore>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "text, or a list of texts")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// A probe, with or without a level of its own.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it says what may be written; values are decoded one by one")]
enum AnyProbe {
    Plain(String),
    Levelled(LevelledProbe),
}

/// `enforcer`, or a list of pods.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it says what may be written; values are decoded one by one")]
enum Restart {
    Enforcer(String),
    Pods(Vec<String>),
}

/// The JSON schema of suites, for editors. What only `netpol run --plan` can tell, such as which pods there are, is not in it.
pub fn schema() -> Schema {
    let mut schema = schema_for!(Suite);
    let needed = ["apiVersion", "kind", "metadata", "description", "level", "rules", "topology", "probes", "steps"];
    schema.insert("required".to_owned(), needed.map(Value::from).to_vec().into());
    schema
}
