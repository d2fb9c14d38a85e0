//! `/netpol.dev/misbehaviour`.

use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Action, Behaviour, Misbehaviour};
use crate::api::resources;
use crate::api::routes;
use crate::api::status::Status;

/// The segments of the path.
pub(crate) const PATH: [&str; 2] = ["netpol.dev", "misbehaviour"];

/// The answer to an [`Action::Downtime`] is on its way before the connections are closed.
const ANSWERED_WITHIN: Duration = Duration::from_millis(50);

/// # Errors
/// 400 for a body that cannot be read or names an unknown resource, 405 for other verbs.
pub(crate) fn answer(misbehaviour: &Misbehaviour, method: &Method, body: &[u8]) -> Result<Response, Status> {
    match *method {
        Method::GET => {}
        Method::PUT => {
            let behaviour: Behaviour = read(body)?;
            let known = |name: &str| resources::served().any(|kind| kind.resource() == name);
            if let Some(name) = behaviour.resources.iter().find(|name| !known(name)) {
                return Err(Status::bad_request(format!("the resource {name} is not served in the lab")));
            }
            misbehaviour.set(behaviour);
        }
        Method::DELETE => misbehaviour.set(Behaviour::default()),
        Method::POST => match read(body)? {
            Action::CutWatches => misbehaviour.cut_watches(),
            Action::Downtime { for_ms } => {
                let misbehaviour = misbehaviour.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(ANSWERED_WITHIN).await;
                    misbehaviour.down_for(Duration::from_millis(for_ms));
                });
            }
        },
        _ => return Err(Status::method_not_allowed(format!("{method} is not served on misbehaviour"))),
    }
    Ok(routes::json(&json!(misbehaviour.get())))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(body).map_err(|error| Status::bad_request(format!("misbehaviour: {error}")))
}
