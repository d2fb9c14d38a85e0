//! Reading an object as the type that it claims to be: wrong types are refused, unknown fields are refused, warned of
//! or dropped, as `fieldValidation` says.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event as EventsEvent;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::parameters::Parameters;
use super::resources::Kind;
use super::status::Status;

/// What happens to fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Dropped in silence.
    Ignore,
    /// Dropped, and said in a `Warning` header. The default, as of the real server.
    Warn,
    /// Refused.
    Strict,
}

impl Strictness {
    /// # Errors
    /// 400 for another word.
    pub(crate) fn of(parameters: &Parameters) -> Result<Self, Status> {
        match parameters.text("fieldValidation") {
            Some("Ignore") => Ok(Self::Ignore),
            None | Some("Warn") => Ok(Self::Warn),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(Status::bad_request(format!("fieldValidation={other}: use Ignore, Warn or Strict"))),
        }
    }
}

/// The object without unknown fields, and the warnings about them.
///
/// # Errors
/// 400 if a field has the wrong type, or is unknown and [`Strictness::Strict`] holds.
pub(crate) fn typed(
    kind: &'static Kind,
    object: Value,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), Status> {
    match kind.kind {
        "ClusterRole" => through::<ClusterRole>(kind, object, strictness),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(kind, object, strictness),
        "ConfigMap" => through::<ConfigMap>(kind, object, strictness),
        "DaemonSet" => {
            let (object, mut warnings) = through::<DaemonSet>(kind, object, strictness)?;
            warnings.push("the lab keeps DaemonSets and makes no pods of them".to_owned());
            Ok((object, warnings))
        }
        "EndpointSlice" => through::<EndpointSlice>(kind, object, strictness),
        "Event" if !kind.group.is_empty() => through::<EventsEvent>(kind, object, strictness),
        "Event" => through::<Event>(kind, object, strictness),
        "Lease" => through::<Lease>(kind, object, strictness),
        "Namespace" => through::<Namespace>(kind, object, strictness),
        "NetworkPolicy" => through::<NetworkPolicy>(kind, object, strictness),
        "Node" => through::<Node>(kind, object, strictness),
        "Pod" => through::<Pod>(kind, object, strictness),
        "Role" => through::<Role>(kind, object, strictness),
        "RoleBinding" => through::<RoleBinding>(kind, object, strictness),
        "Secret" => through::<Secret>(kind, object, strictness),
        "Service" => through::<Service>(kind, object, strictness),
        "ServiceAccount" => through::<ServiceAccount>(kind, object, strictness),
        _ => Ok((object, Vec::new())),
    }
}

fn through<T: DeserializeOwned + Serialize>(
    kind: &'static Kind,
    mut object: Value,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), Status> {
    let refuse = |detail: String| {
        let name = kind.kind;
        let message = format!("{name} in version {:?} cannot be handled as a {name}: {detail}", kind.version);
        Status::bad_request(message)
    };
    // The types insist on the two names, which a patch or a careless client may lack.
    for (key, value) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        let missing = object.get(key).is_none_or(|v| v.is_null() || v == "");
        if let (true, Some(map)) = (missing, object.as_object_mut()) {
            map.insert(key.into(), value.into());
        }
    }
    let mut unknown = Vec::new();
    let value: T = serde_ignored::deserialize(object, |path| unknown.push(field_path(&path.to_string())))
        .map_err(|error: serde_json::Error| refuse(error.to_string()))?;
    let warnings: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match strictness {
        Strictness::Strict if !warnings.is_empty() => {
            return Err(refuse(format!("strict decoding error: {}", warnings.join(", "))));
        }
        Strictness::Ignore => unknown.clear(),
        _ => {}
    }
    let object = serde_json::to_value(&value).map_err(|error| refuse(error.to_string()))?;
    Ok((object, if unknown.is_empty() { Vec::new() } else { warnings }))
}

/// `spec.ingress.0.?.from` becomes `spec.ingress[0].from`.
fn field_path(path: &str) -> String {
    let mut written = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if part.parse::<usize>().is_ok() {
            written.push_str(&format!("[{part}]"));
        } else {
            if !written.is_empty() {
                written.push('.');
            }
            written.push_str(part);
        }
    }
    written
}
