//! Subresources that are requests and no part of an object: eviction and binding of pods, tokens of service accounts.

use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::accounts::Accounts;
use super::media;
use super::metadata;
use super::parameters::Parameters;
use super::resources::{POD, SERVICE_ACCOUNT};
use super::routes::{Target, json_with};
use super::status::Status;
use super::store::{Part, Store};
use super::write;

/// What a real server has and the lab has not: `kubectl attach`, `port-forward`, `debug` and the like are told so by name.
const NOT_IMPLEMENTED: [&str; 6] = ["attach", "ephemeralcontainers", "finalize", "portforward", "proxy", "resize"];

/// The request in hand.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) parameters: &'a Parameters,
    pub(crate) body: &'a [u8],
}

/// Answers a request on the subresource of an object.
///
/// # Errors
/// 501 for what the lab lacks, 404 for what no server has, 405 for other verbs than POST, and whatever the request is refused with.
pub(crate) fn answer(
    store: &Store,
    accounts: &Accounts,
    target: &Target<'_>,
    (name, subresource): (&str, &str),
    asked: &Asked<'_>,
) -> Result<Response, Status> {
    let kind = target.kind;
    let request = match subresource {
        "eviction" if *kind == *POD => evict,
        "binding" if *kind == *POD => bind,
        "token" if *kind == *SERVICE_ACCOUNT => return token(store, accounts, target, name, asked),
        other if NOT_IMPLEMENTED.contains(&other) => {
            let message = format!("the subresource {other} of {} is not implemented in the lab", kind.plural);
            return Err(Status::not_implemented(message));
        }
        other => {
            let message =
                format!("the server could not find the requested resource: {} have no {other}", kind.resource());
            return Err(Status::no_such_path(message));
        }
    };
    only_post(asked, subresource)?;
    request(store, target, name, asked)?;
    let success = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(json_with(StatusCode::CREATED, success.to_string()))
}

fn only_post(asked: &Asked<'_>, subresource: &str) -> Result<(), Status> {
    if *asked.method == Method::POST {
        return Ok(());
    }
    Err(Status::method_not_allowed(format!("{} is not served on the subresource {subresource}", asked.method)))
}

/// The body, which must be of `kind` and, if it names an object, of the one in the path.
fn read(asked: &Asked<'_>, kind: &str, name: &str) -> Result<Value, Status> {
    let body = media::read(asked.headers, asked.body)?;
    if body["kind"].as_str().is_some_and(|given| given != kind) {
        return Err(Status::bad_request(format!("the kind in the data ({}) does not match {kind}", body["kind"])));
    }
    let given = body["metadata"]["name"].as_str().unwrap_or_default();
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    Ok(body)
}

/// As a deletion: nothing here has a PodDisruptionBudget.
fn evict(store: &Store, target: &Target<'_>, name: &str, asked: &Asked<'_>) -> Result<(), Status> {
    let body = read(asked, "Eviction", name)?;
    let options = write::options_of(&body["deleteOptions"], asked.parameters)?;
    store.delete(POD, target.home(), name, &options).map(drop)
}

/// What a scheduler of one's own asks for.
fn bind(store: &Store, target: &Target<'_>, name: &str, asked: &Asked<'_>) -> Result<(), Status> {
    let body = read(asked, "Binding", name)?;
    let node = body["target"]["name"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() || body["target"]["kind"].as_str().is_some_and(|kind| !matches!(kind, "" | "Node")) {
        return Err(Status::bad_request("a Binding needs the target of kind Node with its name"));
    }
    let bound = store.modify(POD, target.home(), name, Part::Everything, |pod| {
        let conflict = |detail: &str| Err(Status::conflict(POD, name, detail));
        if let Some(present) = pod["spec"]["nodeName"].as_str().filter(|present| !present.is_empty()) {
            return conflict(&format!("pod {name} is already assigned to node {present:?}"));
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        pod["spec"]["nodeName"] = node.as_str().into();
        let others = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut conditions: Vec<Value> = others.filter(|other| other["type"] != "PodScheduled").cloned().collect();
        let now = metadata::now();
        conditions.push(json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": now }));
        pod["status"]["conditions"] = conditions.into();
        Ok(())
    });
    bound.map(drop)
}

/// The account's token, as `kubectl create token` asks for it. What the request says of audiences and times is not looked at:
/// everybody may do everything here, and a token is valid as long as the lab.
fn token(
    store: &Store,
    accounts: &Accounts,
    target: &Target<'_>,
    name: &str,
    asked: &Asked<'_>,
) -> Result<Response, Status> {
    only_post(asked, "token")?;
    store.get(SERVICE_ACCOUNT, target.home(), name)?;
    let token = accounts.token(target.home(), name)?;
    let expires = metadata::at(Timestamp::now() + SignedDuration::from_hours(24));
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "name": name, "namespace": target.home(), "creationTimestamp": metadata::now() },
        "spec": { "audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 86_400, "boundObjectRef": null },
        "status": { "token": token, "expirationTimestamp": expires },
    });
    Ok(json_with(StatusCode::CREATED, answer.to_string()))
}
