//! A stored object: JSON that never changes, shared by everyone who reads it, serialised once: when it is made, so that
//! nobody who lists or watches waits for it.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One version of an object.
#[derive(Debug)]
pub struct Object {
    value: Value,
    resource_version: u64,
    json: Bytes,
}

impl Object {
    /// Wraps a value and writes `metadata.resourceVersion` into it.
    pub(crate) fn new(mut value: Value, resource_version: u64) -> Self {
        value["metadata"]["resourceVersion"] = resource_version.to_string().into();
        // A value always serialises: its keys are strings.
        let json = serde_json::to_vec(&value).unwrap_or_default().into_boxed_slice().into();
        Self { value, resource_version, json }
    }

    /// The object as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object as bytes of JSON.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The version that this is.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// The object as a typed one, such as `k8s_openapi::api::core::v1::Pod`.
    ///
    /// # Errors
    /// If the JSON does not fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.value)
    }

    /// A string of the metadata, empty if it is not there.
    pub(crate) fn metadata(&self, key: &str) -> &str {
        self.value["metadata"][key].as_str().unwrap_or_default()
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// `metadata.namespace`, empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.metadata("uid")
    }

    /// Whether deletion was asked for and is not complete.
    pub fn is_terminating(&self) -> bool {
        self.value["metadata"]["deletionTimestamp"].is_string()
    }
}
