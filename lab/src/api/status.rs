//! The `Status` object of meta/v1: every refusal of the API server is one, with code, reason, message and causes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::resources::Kind;

/// A refusal (or, for deletions, a success) as the API server words it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({reason}, {code})")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// Sentence for people.
    pub message: String,
    /// The object concerned, if one is.
    pub subject: Option<Box<Subject>>,
    /// What was wrong, field by field (422 Invalid only).
    pub causes: Vec<Cause>,
}

/// The object that a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Kind (422) or plural (the others), as the real server has it.
    pub kind: &'static str,
    /// Name; may be empty.
    pub name: String,
}

/// One wrong field of an object that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Cause type, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// Path of the field, such as `spec.ingress[0].ports[0].port`.
    pub field: String,
    /// Sentence for people, without the path.
    pub message: String,
}

impl Cause {
    /// The value is malformed or out of range.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self { reason: "FieldValueInvalid", field: field.into(), message: format!("Invalid value: {value}: {detail}") }
    }

    /// The value is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// The value may not stand here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {detail}") }
    }

    /// The value is none of the ones that are known.
    pub fn not_supported(field: impl Into<String>, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        Self { reason: "FieldValueNotSupported", field: field.into(), message }
    }

    /// The same key stands twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self { reason: "FieldValueDuplicate", field: field.into(), message: format!("Duplicate value: {value}") }
    }
}

impl Status {
    fn of(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), subject: None, causes: Vec::new() }
    }

    fn about(mut self, kind: &'static Kind, name: &str) -> Self {
        self.subject = Some(Box::new(Subject { group: kind.group, kind: kind.plural, name: name.into() }));
        self
    }

    /// 404: the object does not exist.
    pub fn not_found(kind: &'static Kind, name: &str) -> Self {
        Self::of(404, "NotFound", format!("{} {name:?} not found", kind.resource())).about(kind, name)
    }

    /// 404: the path leads nowhere; says what was asked for.
    pub fn no_such_path(message: impl Into<String>) -> Self {
        Self::of(404, "NotFound", message)
    }

    /// 409: an object of that name exists.
    pub fn already_exists(kind: &'static Kind, name: &str) -> Self {
        Self::of(409, "AlreadyExists", format!("{} {name:?} already exists", kind.resource())).about(kind, name)
    }

    /// 409: the caller's resourceVersion or precondition is stale.
    pub fn conflict(kind: &'static Kind, name: &str, detail: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {detail}", kind.resource());
        Self::of(409, "Conflict", message).about(kind, name)
    }

    /// 409: server-side apply would change fields that others manage.
    pub(crate) fn apply_conflict(causes: Vec<Cause>) -> Self {
        let list: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.message, cause.field)).collect();
        let many = if list.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{many}: {}", list.len(), list.join(", "));
        Self { causes, ..Self::of(409, "Conflict", message) }
    }

    /// 422: the object breaks rules of its kind; all of them are listed.
    pub fn invalid(kind: &'static Kind, name: &str, causes: Vec<Cause>) -> Self {
        let mut list: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = if list.len() == 1 { list.remove(0) } else { format!("[{}]", list.join(", ")) };
        let subject = if kind.group.is_empty() { kind.kind.into() } else { format!("{}.{}", kind.kind, kind.group) };
        let mut status = Self::of(422, "Invalid", format!("{subject} {name:?} is invalid: {list}"));
        status.subject = Some(Box::new(Subject { group: kind.group, kind: kind.kind, name: name.into() }));
        status.causes = causes;
        status
    }

    /// 422: a JSON patch does not fit the object.
    pub fn patch_failed(detail: &str) -> Self {
        Self::of(422, "Invalid", format!("the server rejected our request due to an error in our request: {detail}"))
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::of(400, "BadRequest", message)
    }

    /// 422: a parameter of a list or a watch does not fit the others.
    pub fn invalid_options(field: &str, detail: &str) -> Self {
        let cause = Cause::forbidden(field, detail);
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {}", cause.message);
        let mut status = Self::of(422, "Invalid", message);
        status.subject = Some(Box::new(Subject { group: "meta.k8s.io", kind: "ListOptions", name: String::new() }));
        status.causes = vec![cause];
        status
    }

    /// What the server was told to refuse requests with.
    pub(crate) fn misbehaving(code: u16) -> Self {
        let reason = match code {
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        Self::of(code, reason, "the server misbehaves, as it was told to")
    }

    /// 504: the request took too long to arrive.
    pub fn slow_request(seconds: u64) -> Self {
        Self::of(504, "Timeout", format!("the request's body did not arrive within {seconds} s"))
    }

    /// 401: neither token nor client certificate.
    pub fn unauthorized() -> Self {
        Self::of(401, "Unauthorized", "Unauthorized")
    }

    /// 403: understood and refused.
    pub fn forbidden(kind: &'static Kind, name: &str, detail: &str) -> Self {
        Self::of(403, "Forbidden", format!("{} {name:?} is forbidden: {detail}", kind.resource())).about(kind, name)
    }

    /// 405: the path exists, the verb is not served on it.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::of(405, "MethodNotAllowed", message)
    }

    /// 406: none of the accepted media types is served.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::of(406, "NotAcceptable", message)
    }

    /// 410: the resourceVersion is older than the history that is kept.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::of(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504: the resourceVersion has not been reached yet.
    pub fn future_version(asked: u64, present: u64) -> Self {
        Self::of(504, "Timeout", format!("Too large resource version: {asked}, current: {present}"))
    }

    /// 413: the body exceeds the limit, in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::of(413, "RequestEntityTooLarge", format!("the request body is larger than {limit} bytes"))
    }

    /// 415: the body's media type is not read here.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::of(415, "UnsupportedMediaType", message)
    }

    /// 500: a fault of the server or of the runtime behind it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::of(500, "InternalError", message)
    }

    /// 501: a known operation that this server does not implement.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::of(501, "NotImplemented", message)
    }

    /// The object as JSON: what bodies, watch errors and exec's error channel carry.
    pub fn to_value(&self) -> Value {
        let mut details = json!({});
        if let Some(subject) = &self.subject {
            for (key, text) in [("name", subject.name.as_str()), ("group", subject.group), ("kind", subject.kind)] {
                if !text.is_empty() {
                    details[key] = json!(text);
                }
            }
        }
        if !self.causes.is_empty() {
            let cause = |c: &Cause| json!({ "reason": c.reason, "message": c.message, "field": c.field });
            details["causes"] = self.causes.iter().map(cause).collect();
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": details, "code": self.code,
        })
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (code, [(header::CONTENT_TYPE, "application/json")], self.to_value().to_string()).into_response();
        if code == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
