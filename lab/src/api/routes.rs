//! From path and method to what answers them. What is not served is refused by name.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::accounts::Identity;
use super::misbehaviour;
use super::parameters::Parameters;
use super::resources::{self, Kind, NAMESPACE, POD};
use super::server::Server;
use super::status::Status;
use super::subresources::{self, Asked};
use super::write::Write;
use super::{access, discovery, exec, logs, openapi, read, write};

/// Largest request body, in bytes: as the real server's.
const BODY_LIMIT: usize = 3 << 20;

/// How long a request's body may take to arrive, as the real server's requests.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// What of the API a path means.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static Kind,
    /// `None`: all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// `None`: the collection.
    pub(crate) name: Option<&'a str>,
    /// `None`: the object itself.
    pub(crate) subresource: Option<&'a str>,
}

impl Target<'_> {
    /// The namespace of one object or of a creation; empty for kinds of the cluster.
    pub(crate) fn home(&self) -> &str {
        self.namespace.unwrap_or_default()
    }
}

/// Answers a request.
///
/// # Errors
/// Whatever is refused.
pub(crate) async fn route(server: &Server, request: Request, who: &Identity) -> Result<Response, Status> {
    let (mut parts, body) = request.into_parts();
    let parameters = Parameters::of(&parts.uri)?;
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let unknown = || Status::no_such_path(format!("the server could not find the requested resource {path}"));
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Ok("ok".into_response()),
        ["openapi", "v3"] => return Ok(json(&openapi::index())),
        ["openapi", "v3", rest @ ..] => {
            return openapi::document(&rest.join("/")).map(|d| json(&d)).ok_or_else(unknown);
        }
        ["version"] | ["api"] | ["apis"] | ["api", _] | ["apis", _] | ["apis", _, _] => {
            return discovery::answer(&segments, &parts.headers).ok_or_else(unknown)?;
        }
        ["metrics", ..] => return Err(Status::no_such_path("the lab's API server has no metrics")),
        path if path == misbehaviour::PATH => {
            let Some(misbehaviour) = &server.misbehaviour else { return Err(unknown()) };
            return misbehaviour::answer(misbehaviour, &parts.method, &read_body(body).await?);
        }
        _ => {}
    }
    if let ["apis", group @ ("authentication.k8s.io" | "authorization.k8s.io"), "v1", rest @ ..] = segments.as_slice() {
        let body = read_body(body).await?;
        return access::review((group, rest), &parts.method, &parts.headers, &body, who);
    }
    let target = target(&segments).ok_or_else(unknown)?;
    if let Some(misbehaviour) = &server.misbehaviour {
        misbehaviour.receive(target.kind.stored()).await?;
    }
    match (target.name, target.subresource) {
        (Some(_), Some("log")) if *target.kind == *POD => return logs::answer(server, &target, &parameters).await,
        (Some(_), Some("exec")) if *target.kind == *POD => {
            return exec::answer(server, &target, &parameters, &mut parts).await;
        }
        (Some(_), None | Some("status")) | (None, None) => {}
        (Some(name), Some(other)) => {
            let body = read_body(body).await?;
            let (method, headers) = (&parts.method, &parts.headers);
            let asked = Asked { method, headers, parameters: &parameters, body: &body };
            return subresources::answer(&server.store, &server.accounts, &target, (name, other), &asked);
        }
        (None, Some(_)) => return Err(unknown()),
    }
    let body = read_body(body).await?;
    dispatch(server, &target, &parameters, &parts, &body)
}

fn dispatch(
    server: &Server,
    target: &Target<'_>,
    parameters: &Parameters,
    parts: &Parts,
    body: &Bytes,
) -> Result<Response, Status> {
    let store = &server.store;
    let headers = &parts.headers;
    match (&parts.method, target.name) {
        (&Method::GET, None) => read::list_or_watch(store, target, parameters, headers, server.misbehaviour.as_ref()),
        (&Method::GET, Some(name)) => read::get(store, target, name, parameters, headers),
        (&Method::POST, None) if target.namespace.is_some() || !target.kind.namespaced => {
            Write::new(store, target, parameters, headers, body)?.create()
        }
        (&Method::DELETE, None) => write::delete_collection(store, target, parameters, headers, body),
        (&Method::PUT, Some(name)) => Write::new(store, target, parameters, headers, body)?.replace(name),
        (&Method::PATCH, Some(name)) => Write::new(store, target, parameters, headers, body)?.patch(name),
        (&Method::DELETE, Some(name)) if target.subresource.is_none() => {
            write::delete(store, target, name, parameters, headers, body)
        }
        (method, _) => {
            let message = format!("{method} is not served on {}", parts.uri.path());
            Err(Status::method_not_allowed(message))
        }
    }
}

async fn read_body(body: axum::body::Body) -> Result<Bytes, Status> {
    use http_body_util::LengthLimitError;
    let arrival = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_LIMIT)).await;
    arrival.map_err(|_| Status::slow_request(BODY_WITHIN.as_secs()))?.map_err(|error| {
        let error: axum::BoxError = error.into_inner();
        if error.is::<LengthLimitError>() {
            Status::too_large(BODY_LIMIT)
        } else {
            Status::bad_request(format!("cannot read the request's body: {error}"))
        }
    })
}

fn target<'a>(segments: &[&'a str]) -> Option<Target<'a>> {
    let (group, version, rest) = match segments {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let find = |plural: &str| resources::find(group, version, plural);
    let target = |kind, namespace, name, subresource| Some(Target { kind, namespace, name, subresource });
    match *rest {
        // `namespaces/a/status` is a subresource; `namespaces/a/pods` a collection.
        ["namespaces", name, sub @ ("status" | "finalize")] if group.is_empty() => {
            target(NAMESPACE, None, Some(name), Some(sub))
        }
        ["namespaces", namespace, plural, ref tail @ ..] => {
            let kind = find(plural).filter(|kind| kind.namespaced)?;
            match *tail {
                [] => target(kind, Some(namespace), None, None),
                [name] => target(kind, Some(namespace), Some(name), None),
                [name, sub] => target(kind, Some(namespace), Some(name), Some(sub)),
                _ => None,
            }
        }
        [plural] => target(find(plural)?, None, None, None),
        [plural, name] => target(find(plural).filter(|kind| !kind.namespaced)?, None, Some(name), None),
        [plural, name, sub] => target(find(plural).filter(|kind| !kind.namespaced)?, None, Some(name), Some(sub)),
        _ => None,
    }
}

/// 200 with JSON.
pub(crate) fn json(value: &Value) -> Response {
    json_with(StatusCode::OK, value.to_string())
}

/// A code with bytes of JSON.
pub(crate) fn json_with(code: StatusCode, body: impl IntoResponse) -> Response {
    let mut response = (code, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds a `Warning` header, which kubectl and client-go print.
pub(crate) fn warn(headers: &mut HeaderMap, text: &str) {
    let text: String = text.chars().map(|c| if c == '"' { '\'' } else { c }).filter(|c| !c.is_control()).collect();
    if let Ok(value) = format!("299 - \"{text}\"").parse() {
        headers.append(header::WARNING, value);
    }
}
