//! authorization.k8s.io/v1 SelfSubjectAccessReview: whoever is in may do everything, and `kubectl auth can-i` says so.

use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::media;
use super::routes::json_with;
use super::status::Status;

/// # Errors
/// 404 for other reviews, 405 for other verbs, 400 for a body that is no review.
pub(crate) fn review(rest: &[&str], method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<Response, Status> {
    if rest != ["selfsubjectaccessreviews"] {
        return Err(Status::no_such_path(format!(
            "authorization.k8s.io/v1 {} is not served in the lab",
            rest.join("/")
        )));
    }
    if *method != Method::POST {
        return Err(Status::method_not_allowed(format!("{method} is not served on selfsubjectaccessreviews")));
    }
    // kubectl sends this one as protobuf. What it asks has no bearing on the answer, so it is not decoded.
    let protobuf = media::content_type(headers) == "application/vnd.kubernetes.protobuf";
    let mut review = if protobuf { json!({ "spec": {} }) } else { media::read(headers, body)? };
    if !review["spec"].is_object() {
        return Err(Status::bad_request("a SelfSubjectAccessReview needs a spec"));
    }
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    review["kind"] = "SelfSubjectAccessReview".into();
    review["status"] =
        json!({ "allowed": true, "reason": "everyone who is authenticated is an administrator of the lab" });
    Ok(json_with(StatusCode::CREATED, review.to_string().into()))
}
