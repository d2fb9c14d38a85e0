//! The lab's API server over a store that the test fills.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use netpol_lab::api::runtime::{ExecRequest, ExecSession, Log, LogRequest, RuntimeError};
use netpol_lab::api::{Credentials, Misbehaviour, Runtime, Store, serve_misbehaving};

/// No container ever runs here.
struct NoContainers;

impl Runtime for NoContainers {
    fn exec(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecSession, RuntimeError>> {
        Box::pin(async move { Err(RuntimeError::NoLog(format!("{} never runs", request.pod))) })
    }

    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<Log, RuntimeError>> {
        Box::pin(async move { Err(RuntimeError::NoLog(format!("{} never runs", request.pod))) })
    }
}

/// Serves the store until it is dropped, which cuts every connection.
pub(crate) struct ApiServer(Option<tokio::runtime::Runtime>);

impl ApiServer {
    pub(crate) fn start(store: &Store, listener: TcpListener, credentials: &Arc<Credentials>) -> Self {
        Self::misbehaving(store, listener, credentials, Misbehaviour::new(store))
    }

    /// With a switch for what can go wrong.
    pub(crate) fn misbehaving(
        store: &Store,
        listener: TcpListener,
        credentials: &Arc<Credentials>,
        misbehaviour: Misbehaviour,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (store, credentials) = (store.clone(), Arc::clone(credentials));
        let runs = Arc::new(NoContainers);
        runtime.spawn(
            async move { serve_misbehaving(store, runs, vec![listener], &credentials, Some(misbehaviour)).await },
        );
        Self(Some(runtime))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
