//! `pods/log`: the runtime's lines, cut and stamped as the client asked.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use serde_json::Value;

use super::parameters::Parameters;
use super::resources::POD;
use super::routes::Target;
use super::runtime::{Log, LogLine, LogRequest, RuntimeError};
use super::server::Server;
use super::status::Status;

/// Answers with the log as plain text; with `follow` until the container has ended.
///
/// # Errors
/// 404 for the pod, 400 for an unknown container or a log that is not there.
pub(crate) async fn answer(server: &Server, target: &Target<'_>, parameters: &Parameters) -> Result<Response, Status> {
    let name = target.name.unwrap_or_default();
    let pod = server.store.get(POD, target.home(), name)?;
    let container = container_of(pod.value(), name, parameters.text("container"))?;
    let request = LogRequest {
        namespace: target.home().to_owned(),
        pod: name.to_owned(),
        container,
        follow: parameters.flag("follow"),
        previous: parameters.flag("previous"),
    };
    let limits = Limits::of(parameters)?;
    let log = server.runtime.logs(request).await.map_err(refusal)?;
    let lines = limits.cut(log).map(Ok::<_, std::convert::Infallible>);
    Ok(([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(lines)).into_response())
}

/// The container a request means: the one that it names, or the pod's first.
///
/// # Errors
/// 400 if the pod has no such container.
pub(super) fn container_of(pod: &Value, name: &str, asked: Option<&str>) -> Result<String, Status> {
    let list = |key: &str| pod["spec"][key].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = |key: &str| list(key).iter().filter_map(|c| c["name"].as_str()).collect::<Vec<_>>();
    let (containers, init) = (names("containers"), names("initContainers"));
    match asked {
        None if containers.len() == 1 => Ok(containers[0].to_owned()),
        None => {
            let choices = [containers, init].concat().join(", ");
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{choices}]"
            )))
        }
        Some(asked) if containers.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        Some(asked) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

/// A runtime's refusal as an answer.
pub(super) fn refusal(error: RuntimeError) -> Status {
    match error {
        RuntimeError::NotRunning { .. } | RuntimeError::NoLog(_) => Status::bad_request(error.to_string()),
        RuntimeError::Start { .. } | RuntimeError::Failed(_) => Status::internal(error.to_string()),
    }
}

struct Limits {
    tail: Option<usize>,
    since: Option<Timestamp>,
    timestamps: bool,
    bytes: Option<usize>,
}

impl Limits {
    fn of(parameters: &Parameters) -> Result<Self, Status> {
        let seconds: Option<u64> = parameters.number("sinceSeconds")?;
        let since = match (parameters.text("sinceTime"), seconds) {
            (Some(_), Some(_)) => {
                return Err(Status::bad_request("at most one of sinceTime or sinceSeconds may be given"));
            }
            (Some(text), None) => {
                let time =
                    text.parse().map_err(|_| Status::bad_request(format!("sinceTime={text} is not RFC 3339")))?;
                Some(time)
            }
            (None, Some(seconds)) => Timestamp::now().checked_sub(Duration::from_secs(seconds)).ok(),
            (None, None) => None,
        };
        Ok(Self {
            tail: parameters.number("tailLines")?,
            since,
            timestamps: parameters.flag("timestamps"),
            bytes: parameters.number("limitBytes")?,
        })
    }

    fn cut(self, log: Log) -> BoxStream<'static, Bytes> {
        let Self { tail, since, timestamps, bytes } = self;
        let recent = move |line: &LogLine| since.is_none_or(|since| line.time >= since);
        let mut stored: Vec<LogLine> = log.stored.into_iter().filter(recent).collect();
        if let Some(tail) = tail {
            stored.drain(..stored.len().saturating_sub(tail));
        }
        let lines =
            stream::iter(stored).chain(log.live).map(move |line| if timestamps { stamped(&line) } else { line.text });
        let Some(limit) = bytes else { return lines.boxed() };
        lines
            .scan(limit, |left, text| {
                let text = text.slice(..text.len().min(*left));
                *left -= text.len();
                std::future::ready((!text.is_empty()).then_some(text))
            })
            .boxed()
    }
}

fn stamped(line: &LogLine) -> Bytes {
    let mut text = line.time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ ").to_string().into_bytes();
    text.extend_from_slice(&line.text);
    text.into()
}
