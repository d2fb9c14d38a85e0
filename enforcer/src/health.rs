//! `/healthz`, `/readyz`, `/status` and `/metrics` on loopback, for the kubelet and for people.

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

/// What `/status` tells, as JSON, and what `/readyz` makes of it.
pub trait Report: Clone + Default + Serialize + Send + 'static {
    /// Why the program is not ready; none if it is.
    fn not_ready(&self) -> Option<String>;

    /// What `/metrics` tells, as OpenMetrics text; none if the program measures nothing.
    fn metrics(&self) -> Option<String> {
        None
    }
}

/// The status, shared between a program and its HTTP server.
#[derive(Clone, Debug, Default)]
pub struct Health<R>(Arc<Mutex<R>>);

impl<R: Report> Health<R> {
    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut R)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The status as it is now.
    pub fn status(&self) -> R {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens on 127.0.0.1 and serves in the background, for as long as the runtime lives. Port 0 picks a free one. Returns
/// the address. Fails if the port is taken.
pub async fn serve<R: Report>(port: u16, health: Health<R>) -> std::io::Result<SocketAddr> {
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

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn respond<R: Report>(request: &Request<Incoming>, health: &Health<R>) -> Response<Full<Bytes>> {
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
        (&Method::GET | &Method::HEAD, "/metrics") => match health.status().metrics() {
            Some(text) => (StatusCode::OK, OPENMETRICS, text),
            None => (StatusCode::NOT_FOUND, "text/plain", "this program measures nothing\n".to_owned()),
        },
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /healthz, /readyz, /status and, of the enforcer, /metrics\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
