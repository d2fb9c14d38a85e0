//! The lab's API server over a store that the measurement fills, and `netpol enforcer` as a process that watches it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::future::BoxFuture;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use netpol_lab::api::runtime::{ExecRequest, ExecSession, Log, LogRequest, RuntimeError};
use netpol_lab::api::{Credentials, Runtime, Store, kubeconfig, serve};

use super::cluster::NODE;

const HEALTH: u16 = 9808;
/// An enforcer that is not ready after this long is not measured.
const WITHIN: Duration = Duration::from_secs(30);

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

/// An API server, and what clients need to reach it.
pub(super) struct ControlPlane {
    kubeconfig: String,
    _runtime: tokio::runtime::Runtime,
}

impl ControlPlane {
    /// Serves a store on a port of loopback.
    ///
    /// # Errors
    /// There is no port, or there are no credentials.
    pub(super) fn serve(store: &Store) -> anyhow::Result<Self> {
        let credentials = Arc::new(Credentials::new(&[]).context("making credentials")?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the API server")?;
        let kubeconfig = kubeconfig(&credentials, &format!("https://{}", listener.local_addr()?), "bench");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let store = store.clone();
        runtime.spawn(async move { serve(store, Arc::new(NoContainers), vec![listener], &credentials).await });
        Ok(Self { kubeconfig, _runtime: runtime })
    }

    /// A client of it, to be used on the runtime that is entered.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig)?;
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
    }
}

/// `netpol enforcer` of the measured node; it ends when this is dropped.
pub(super) struct Enforcer(Child);

impl Enforcer {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub(super) fn start(control_plane: &ControlPlane) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find netpol itself")?;
        let file = tempfile::NamedTempFile::new().context("a file for the kubeconfig")?;
        std::fs::write(file.path(), &control_plane.kubeconfig)?;
        let mut command = Command::new(program);
        command.args(["enforcer", "--node", NODE, "--kubeconfig"]).arg(file.path());
        command.env("NETPOL_LOG", "warn").stdin(Stdio::null());
        let mut enforcer = Self(command.spawn().context("cannot start netpol enforcer")?);
        let deadline = Instant::now() + WITHIN;
        while !ready() {
            if let Some(ended) = enforcer.0.try_wait()? {
                bail!("netpol enforcer ended: {ended}");
            }
            ensure!(Instant::now() < deadline, "netpol enforcer is not ready after {WITHIN:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(enforcer)
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ready() -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, HEALTH)).and_then(|mut stream| {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.contains("200 OK")
}
