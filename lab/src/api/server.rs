//! Listening: TLS on any number of listeners, authentication, and the way from a request to its answer.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls::TlsInfo;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustix::net::sockopt;
use tokio::task::JoinSet;

use super::accounts::{Accounts, Identity};
use super::misbehaviour::{self, Misbehaviour};
use super::routes;
use super::runtime::Runtime;
use super::status::Status;
use super::store::Store;
use super::tls::Credentials;

/// A client that connects and asks nothing is let go after this long.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// A silent connection is asked whether its client still lives after this long,
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// and again this often, three times.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// What every request handler has at hand.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) misbehaviour: Option<Misbehaviour>,
    pub(crate) accounts: Accounts,
    token: Arc<str>,
}

/// A socket to serve on.
#[derive(Debug)]
pub struct Listener {
    /// The socket; it listens already.
    pub socket: TcpListener,
    /// Whether it speaks TLS. Without it, only the token tells who somebody is, and everybody on the way reads it.
    pub tls: bool,
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: true }
    }
}

/// Serves the API on all listeners until one of them fails. Dropping the future stops listening; requests under way
/// end with their runtime.
///
/// # Errors
/// If a listener cannot be used.
pub async fn serve(
    store: Store,
    runtime: Arc<dyn Runtime>,
    listeners: impl IntoIterator<Item = impl Into<Listener>>,
    credentials: &Credentials,
) -> io::Result<Infallible> {
    serve_misbehaving(store, runtime, listeners, credentials, None).await
}

/// As [`serve`], with a switch for what can go wrong.
///
/// # Errors
/// As [`serve`].
pub async fn serve_misbehaving(
    store: Store,
    runtime: Arc<dyn Runtime>,
    listeners: impl IntoIterator<Item = impl Into<Listener>>,
    credentials: &Credentials,
    misbehaviour: Option<Misbehaviour>,
) -> io::Result<Infallible> {
    let (accounts, token) = (credentials.accounts.clone(), credentials.token.as_str().into());
    let server = Server { store, runtime, misbehaviour: misbehaviour.clone(), accounts, token };
    let router = Router::new().fallback(answer).with_state(server);
    let mut tasks = JoinSet::new();
    for listener in listeners.into_iter().map(Into::<Listener>::into) {
        let (router, tls) = (router.clone(), Arc::clone(&credentials.server));
        let config = listener.tls.then(|| RustlsConfig::from_config(tls));
        tasks.spawn(listen(listener.socket, config, router, misbehaviour.clone()));
    }
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the API server was given no listener")),
    }
}

/// Serves on one socket, with pauses where it is told to be down.
async fn listen(
    socket: TcpListener,
    tls: Option<RustlsConfig>,
    router: Router,
    misbehaviour: Option<Misbehaviour>,
) -> io::Result<Infallible> {
    // Connections inherit this: a client that vanished without a word is noticed, and its watches end.
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(&socket, 3)?;
    loop {
        let handle = Handle::new();
        let serving = connections(misbehaviour::share(&socket)?, tls.clone(), router.clone(), handle.clone());
        tokio::pin!(serving);
        let outage = async {
            match &misbehaviour {
                Some(misbehaviour) => misbehaviour.outage().await,
                None => std::future::pending().await,
            }
        };
        let until = tokio::select! {
            ended = &mut serving => return Err(ended.err().unwrap_or_else(|| io::Error::other("a listener has ended"))),
            until = outage => until,
        };
        handle.shutdown();
        // Its socket is closed with it; what becomes of the connections is settled by the handle.
        let _ = serving.await;
        misbehaviour::refuse(&socket, until).await?;
    }
}

async fn connections(
    socket: TcpListener,
    tls: Option<RustlsConfig>,
    router: Router,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let http = axum_server::from_tcp(socket)?.handle(handle).first_request_timeout(FIRST_REQUEST_WITHIN);
    match tls {
        Some(config) => {
            let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor);
            http.acceptor(acceptor).serve(router.into_make_service()).await
        }
        None => http.acceptor(NoDelayAcceptor).serve(router.into_make_service()).await,
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let who = match server.identify(&request) {
        Some(who) => who,
        // What it is told has nothing to do with who it is.
        None if is_public(request.uri().path()) => Identity::Administrator,
        None => return Status::unauthorized().into_response(),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match routes::route(&server, request, &who).await {
        Ok(response) => response,
        Err(status) => {
            tracing::debug!(%method, path, code = status.code, message = status.message, "refused");
            status.into_response()
        }
    }
}

impl Server {
    /// Who asks; `None` if nobody knows.
    fn identify(&self, request: &Request) -> Option<Identity> {
        let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let by_token = header.and_then(|header| header.strip_prefix("Bearer ")).and_then(|token| {
            if token == &*self.token { Some(Identity::Administrator) } else { self.accounts.whose(token) }
        });
        // A client certificate that is there has been verified: rustls refuses those that the authority did not sign.
        let tls = request.extensions().get::<Arc<TlsInfo>>();
        let certified = tls.is_some_and(|tls| !tls.peer_certificates.is_empty());
        by_token.or(certified.then_some(Identity::Administrator))
    }
}

/// What the real server, too, tells to everyone.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version")
}
