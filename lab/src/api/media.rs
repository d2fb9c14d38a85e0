//! Media types: which form of an answer the client takes, and how its body is read. Everything is JSON
//! here, but for a few bodies that kubectl sends as protobuf.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use super::protobuf;
use super::status::Status;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Object,
    /// meta.k8s.io/v1 Table: rows for people.
    Table,
    /// meta.k8s.io/v1 PartialObjectMetadata(List).
    Metadata,
    /// apidiscovery.k8s.io/v2 APIGroupDiscoveryList.
    Discovery,
}

/// The first form in `Accept` that is served; protobuf and CBOR are passed over, which their clients expect.
///
/// # Errors
/// 406 if there is none.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Form, Status> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let form = accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*" | "") {
            return None;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let value = |key| parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        match (value("as"), value("v")) {
            (None, _) => Some(Form::Object),
            (Some("Table"), Some("v1")) => Some(Form::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => Some(Form::Metadata),
            (Some("APIGroupDiscoveryList"), Some("v2")) => Some(Form::Discovery),
            _ => None,
        }
    });
    form.ok_or_else(|| Status::not_acceptable(format!("only application/json is served, not {accept}")))
}

/// The body's media type without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads an object from a body.
///
/// # Errors
/// 415 for other media types, 400 for what cannot be read.
pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
    match content_type(headers) {
        "" | "application/json" => json(body),
        "application/yaml" => yaml(body),
        "application/vnd.kubernetes.protobuf" => protobuf::read(body),
        other => Err(Status::unsupported_media_type(format!(
            "the body's media type {other} is not read here: send application/json"
        ))),
    }
}

pub(crate) fn json(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))
}

pub(crate) fn yaml(body: &[u8]) -> Result<Value, Status> {
    serde_yaml::from_slice(body).map_err(|error| Status::bad_request(format!("the body is not YAML: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn form(accept: &'static str) -> Option<Form> {
        accepted(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])).ok()
    }

    #[test]
    fn the_first_form_that_is_served_wins() {
        assert_eq!(form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Some(Form::Table));
        assert_eq!(form("application/vnd.kubernetes.protobuf, application/json"), Some(Form::Object));
        assert_eq!(form("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"), Some(Form::Object));
        assert_eq!(form("application/vnd.kubernetes.protobuf"), None);
    }
}
