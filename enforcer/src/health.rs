//! `/healthz`, `/readyz` and `/status` on loopback, for the kubelet and for people.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;

/// What `/status` tells, as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// The node that is enforced.
    pub node: String,
    /// Whether the kernel self-test passed.
    pub self_tested: bool,
    /// The kinds whose first list has not arrived yet.
    pub waiting_for: BTreeSet<&'static str>,
    /// Whether the policies of this node are in the kernel as they are known.
    pub programmed: bool,
    /// Committed transactions.
    pub transactions: u64,
    /// Transactions that the kernel refused.
    pub failures: u64,
    /// Why the last one was refused; none after one that was committed.
    pub last_error: Option<String>,
    /// The interfaces that lead out of the node; all others are pods'.
    pub uplinks: BTreeSet<String>,
    /// Policies that close the pods that they select, with the reasons.
    pub refused: Vec<RefusedPolicy>,
    /// What this version does not enforce, and closes instead.
    pub not_supported: Vec<&'static str>,
}

/// A policy that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedPolicy {
    /// Namespace and name.
    pub policy: String,
    /// The generation that was read.
    pub generation: i64,
    /// What is wrong in it, or not supported, each with its path.
    pub reasons: Vec<String>,
}

impl Status {
    /// Why the enforcer is not ready; none if it is.
    pub fn not_ready(&self) -> Option<String> {
        if !self.self_tested {
            return Some("the kernel self-test has not passed yet".to_owned());
        }
        if !self.waiting_for.is_empty() {
            let kinds: Vec<_> = self.waiting_for.iter().copied().collect();
            return Some(format!("waiting for the first list of {}", kinds.join(", ")));
        }
        if let Some(error) = &self.last_error {
            return Some(format!("the last transaction failed: {error}"));
        }
        (!self.programmed).then(|| "the first transaction has not been committed yet".to_owned())
    }
}

/// The status, shared between the enforcer and its HTTP server.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Status>>);

impl Health {
    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The status as it is now.
    pub fn status(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens on 127.0.0.1 and serves in the background, for as long as the runtime lives. Port 0 picks a free one. Returns
/// the address. Fails if the port is taken.
pub async fn serve(port: u16, health: Health) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let health = health.clone();
            tokio::spawn(async move {
                let answer =
                    service_fn(move |request| std::future::ready(Ok::<_, Infallible>(respond(&request, &health))));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a health client went away");
                }
            });
        }
    });
    Ok(address)
}

fn respond(request: &Request<Incoming>, health: &Health) -> Response<Full<Bytes>> {
    let (code, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match health.status().not_ready() {
            None => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {reason}\n")),
        },
        (&Method::GET | &Method::HEAD, "/status") => match serde_json::to_string_pretty(&health.status()) {
            Ok(json) => (StatusCode::OK, "application/json", json + "\n"),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
        },
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain", "there are /healthz, /readyz and /status\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
