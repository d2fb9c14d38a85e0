//! Reviews: whoever is in may do everything, and `kubectl auth can-i` says so; `kubectl auth whoami` says who that is.

use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::accounts::Identity;
use super::media;
use super::routes::json_with;
use super::status::Status;

/// # Errors
/// 404 for other reviews, 405 for other verbs, 400 for a body that is no review.
pub(crate) fn review(
    (group, rest): (&str, &[&str]),
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
    who: &Identity,
) -> Result<Response, Status> {
    let (kind, status) = match (group, rest) {
        ("authorization.k8s.io", ["selfsubjectaccessreviews"]) => {
            let reason = "everyone who is authenticated is an administrator of the lab";
            ("SelfSubjectAccessReview", json!({ "allowed": true, "reason": reason }))
        }
        ("authentication.k8s.io", ["selfsubjectreviews"]) => {
            let user = json!({ "username": who.user(), "groups": who.groups() });
            ("SelfSubjectReview", json!({ "userInfo": user }))
        }
        _ => return Err(Status::no_such_path(format!("{group}/v1 {} is not served in the lab", rest.join("/")))),
    };
    if *method != Method::POST {
        return Err(Status::method_not_allowed(format!("{method} is not served on {}", rest.join("/"))));
    }
    // kubectl sends these as protobuf. What they ask has no bearing on the answer, so it is not decoded.
    let protobuf = media::content_type(headers) == "application/vnd.kubernetes.protobuf";
    let mut review = if protobuf { json!({ "spec": {} }) } else { media::read(headers, body)? };
    if group == "authorization.k8s.io" && !review["spec"].is_object() {
        return Err(Status::bad_request("a SelfSubjectAccessReview needs a spec"));
    }
    review["apiVersion"] = format!("{group}/v1").into();
    review["kind"] = kind.into();
    review["status"] = status;
    Ok(json_with(StatusCode::CREATED, review.to_string()))
}
