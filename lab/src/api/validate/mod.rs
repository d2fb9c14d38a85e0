//! The rules of each kind. What is not checked here is accepted as it comes.

mod daemonset;
mod networkpolicy;
mod pod;
mod service;

use serde_json::Value;

use super::resources::Kind;
use super::status::Cause;

/// What is wrong with an object on its own.
pub(crate) fn object(kind: &'static Kind, object: &Value) -> Vec<Cause> {
    match kind.kind {
        "DaemonSet" => daemonset::check(object),
        "NetworkPolicy" => networkpolicy::check(object),
        "Pod" => pod::check(object),
        "Service" => service::check(object),
        _ => Vec::new(),
    }
}

/// What is wrong with the change from one version to the next.
pub(crate) fn update(kind: &'static Kind, present: &Value, next: &Value) -> Vec<Cause> {
    match kind.kind {
        "Pod" => pod::check_update(present, next),
        "Service" => service::check_update(present, next),
        _ => Vec::new(),
    }
}
