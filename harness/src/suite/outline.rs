//! The format `netpol.dev/v1alpha1` as it is written: every key it has. Values are decoded one by one behind these outlines, so
//! that one wrong value does not hide the next.

use serde::Deserialize;
use serde_json::Value;

/// `apiVersion` of suites.
pub(super) const API_VERSION: &str = "netpol.dev/v1alpha1";

/// A suite.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Suite {
    pub(super) api_version: Option<Value>,
    pub(super) kind: Option<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) description: Option<Value>,
    pub(super) level: Option<Value>,
    pub(super) features: Option<Value>,
    pub(super) rules: Option<Value>,
    pub(super) topology: Option<Value>,
    pub(super) exclusive: Option<Value>,
    /// Why a case has no scored denied cell, or no scored allowed one.
    #[serde(rename = "one-sided")]
    pub(super) one_sided: Option<Value>,
    pub(super) parameters: Option<Value>,
    pub(super) needs: Option<Value>,
    pub(super) endpoints: Option<Value>,
    pub(super) probes: Option<Value>,
    pub(super) hold: Option<Value>,
    pub(super) logs: Option<Value>,
    pub(super) steps: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

/// A probe with a level of its own; without one it is only a string.
#[derive(Debug, Deserialize)]
pub(super) struct LevelledProbe {
    pub(super) probe: String,
    pub(super) level: Option<String>,
}

#[derive(Debug, Deserialize)]
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
#[derive(Debug, Deserialize)]
pub(super) struct Log {
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) to: String,
    pub(super) probe: String,
    pub(super) level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) name: Option<Value>,
    pub(super) relabel: Option<Value>,
    pub(super) apply: Option<Value>,
    pub(super) rejected: Option<Value>,
    pub(super) patch: Option<Value>,
    pub(super) delete: Option<Value>,
    pub(super) recreate: Option<Value>,
    pub(super) create: Option<Value>,
    pub(super) remove: Option<Value>,
    pub(super) complete: Option<Value>,
    pub(super) terminate: Option<Value>,
    pub(super) restart: Option<Value>,
    pub(super) wait: Option<Value>,
    pub(super) expect: Option<Value>,
    pub(super) held: Option<Value>,
    pub(super) logs: Option<Value>,
}

/// New labels of a pod or of a namespace; null takes a label away.
#[derive(Debug, Deserialize)]
pub(super) struct Relabel {
    pub(super) pod: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) labels: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    pub(super) field: String,
    #[serde(rename = "type")]
    pub(super) cause: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) patch: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Expect {
    pub(super) deny: Option<Vec<Value>>,
    pub(super) allow: Option<Vec<Value>>,
}

/// The cells between some pods; all of the suite's probes where it names none.
#[derive(Debug, Deserialize)]
pub(super) struct Cells {
    pub(super) from: OneOrMore,
    pub(super) to: OneOrMore,
    pub(super) probes: Option<OneOrMore>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "text, or a list of texts")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}
