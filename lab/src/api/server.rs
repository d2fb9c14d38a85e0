//! Listening: TLS on any number of listeners, authentication, and the way from a request to its answer.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls::TlsInfo;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::task::JoinSet;

use super::routes;
use super::runtime::Runtime;
use super::status::Status;
use super::store::Store;
use super::tls::Credentials;

/// What every request handler has at hand.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) runtime: Arc<dyn Runtime>,
    token: Arc<str>,
}

/// Serves the API on all listeners until one of them fails. Dropping the future stops listening; requests under way
/// end with their runtime.
///
/// # Errors
/// If a listener cannot be used.
pub async fn serve(
    store: Store,
    runtime: Arc<dyn Runtime>,
    listeners: Vec<TcpListener>,
    credentials: &Credentials,
) -> io::Result<()> {
    let server = Server { store, runtime, token: format!("Bearer {}", credentials.token).into() };
    let router = Router::new().fallback(answer).with_state(server);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let config = RustlsConfig::from_config(Arc::clone(&credentials.server));
        let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor);
        let http = axum_server::from_tcp(listener)?.acceptor(acceptor);
        tasks.spawn(http.serve(router.clone().into_make_service()));
    }
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the API server was given no listener")),
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    // A client certificate that is there has been verified: rustls refuses those that the authority did not sign.
    let known = request.extensions().get::<Arc<TlsInfo>>().is_some_and(|tls| !tls.peer_certificates.is_empty())
        || request.headers().get(AUTHORIZATION).is_some_and(|header| header.as_bytes() == server.token.as_bytes());
    if !known && !is_public(request.uri().path()) {
        return Status::unauthorized().into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match routes::route(&server, request).await {
        Ok(response) => response,
        Err(status) => {
            tracing::debug!(%method, path, code = status.code, message = status.message, "refused");
            status.into_response()
        }
    }
}

/// What the real server, too, tells to everyone.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version")
}
