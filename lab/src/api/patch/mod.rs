//! Patches, by the media type of the body.

mod apply;
mod fields;
mod lists;
mod managers;
mod strategic;

use axum::http::HeaderMap;
use serde_json::Value;

use super::media;
use super::parameters::Parameters;
use super::resources::Kind;
use super::status::Status;

pub(crate) use apply::Apply;
pub(crate) use managers::{Manager, record};

/// A patch that was read and not yet applied.
#[derive(Debug)]
pub(crate) enum Patch {
    /// RFC 6902: a list of operations.
    Json(json_patch::Patch),
    /// RFC 7386: an object that replaces what it names; null removes.
    Merge(Value),
    /// Kubernetes' own: a merge patch that knows which lists have keys.
    Strategic(Value),
    /// Server-side apply.
    Apply(Apply),
}

impl Patch {
    /// # Errors
    /// 415 for other media types, 400 for a body that cannot be read.
    pub(crate) fn read(
        kind: &'static Kind,
        headers: &HeaderMap,
        body: &[u8],
        parameters: &Parameters,
        subresource: Option<&str>,
    ) -> Result<Self, Status> {
        match media::content_type(headers) {
            "application/json-patch+json" => {
                let patch = serde_json::from_slice(body)
                    .map_err(|error| Status::bad_request(format!("the body is not a JSON patch: {error}")))?;
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => Ok(Self::Merge(object(media::json(body)?)?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(object(media::json(body)?)?)),
            "application/apply-patch+yaml" => {
                Ok(Self::Apply(Apply::new(kind, object(media::yaml(body)?)?, parameters, subresource)?))
            }
            other => {
                let message =
                    format!("the patch type {other:?} is not served: use JSON, merge, strategic merge or apply");
                Err(Status::unsupported_media_type(message))
            }
        }
    }

    /// Applies the patch.
    ///
    /// # Errors
    /// 422 for a JSON patch that does not fit the object, 400 for unknown directives.
    pub(crate) fn edit(&self, kind: &'static Kind, target: &mut Value) -> Result<(), Status> {
        match self {
            Self::Json(patch) => {
                json_patch::patch(target, patch).map_err(|error| Status::patch_failed(&error.to_string()))
            }
            Self::Merge(patch) => {
                json_patch::merge(target, patch);
                Ok(())
            }
            Self::Strategic(patch) => strategic::merge(kind, target, patch),
            Self::Apply(apply) => apply.edit(kind, target),
        }
    }
}

fn object(body: Value) -> Result<Value, Status> {
    if body.is_object() { Ok(body) } else { Err(Status::bad_request("the patch must be an object")) }
}
