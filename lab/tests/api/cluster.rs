//! A store behind a real API server, and a runtime whose containers are processes of this machine.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use netpol_lab::api::resources::{NAMESPACE, POD};
use netpol_lab::api::runtime::{ExecRequest, ExecSession, Log, LogLine, LogRequest, RuntimeError, TerminalSize};
use netpol_lab::api::{Credentials, Listener, Misbehaviour, Part, Runtime, Store, kubeconfig, serve_misbehaving};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::BroadcastStream;

/// A running API server; it ends with the test's runtime.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) processes: Arc<Processes>,
    pub(crate) client: Client,
    pub(crate) kubeconfig: String,
    pub(crate) kubeconfig_by_certificate: String,
    pub(crate) misbehaviour: Misbehaviour,
}

impl Cluster {
    /// Starts one with the namespace `default`.
    pub(crate) async fn start() -> Self {
        Self::start_with(false, true).await
    }

    /// Starts one that misbehaves when asked to.
    pub(crate) async fn misbehaving() -> Self {
        Self::start_with(true, true).await
    }

    /// Starts one without TLS.
    pub(crate) async fn plain() -> Self {
        Self::start_with(false, false).await
    }

    async fn start_with(misbehaves: bool, tls: bool) -> Self {
        let store = Store::new();
        store.create(NAMESPACE, "", json!({ "metadata": { "name": "default" } })).unwrap();
        let processes = Arc::new(Processes::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{}://{}", if tls { "https" } else { "http" }, listener.local_addr().unwrap());
        let credentials = Credentials::new(&[]).unwrap();
        let kubeconfig = kubeconfig(&credentials, &url, "lab");
        let by_certificate = netpol_lab::api::kubeconfig::kubeconfig_with_certificate(&credentials, &url, "lab");
        let (served, runtime) = (store.clone(), Arc::clone(&processes));
        let misbehaviour = Misbehaviour::new(&store);
        let switch = misbehaves.then(|| misbehaviour.clone());
        let listener = Listener { socket: listener, tls };
        tokio::spawn(async move { serve_misbehaving(served, runtime, [listener], &credentials, switch).await });
        let client = client(&kubeconfig).await;
        Self { store, processes, client, kubeconfig, kubeconfig_by_certificate: by_certificate, misbehaviour }
    }

    /// Creates a pod of one container `main` and gives it the state of a running one, as a kubelet would.
    pub(crate) fn run_pod(&self, name: &str) {
        self.store.create(POD, "default", pod(name)).unwrap();
        self.store
            .modify(POD, "default", name, Part::Everything, |pod| {
                pod["spec"]["nodeName"] = "worker-1".into();
                pod["status"]["phase"] = "Running".into();
                pod["status"]["podIP"] = "10.244.1.2".into();
                pod["status"]["containerStatuses"] = json!([{
                    "name": "main", "image": "netpol", "imageID": "", "ready": true, "restartCount": 0,
                    "state": { "running": { "startedAt": pod["metadata"]["creationTimestamp"] } },
                }]);
                Ok(())
            })
            .unwrap();
    }
}

/// A client of a kubeconfig.
pub(crate) async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // Tests look at refusals, and do not wait for them to pass.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// A pod with the label `app: NAME` and the container `main`.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main", "image": "netpol", "ports": [{ "containerPort": 80 }] }] },
    })
}

/// Runs commands on this machine, whatever the container; keeps logs that tests write.
pub(crate) struct Processes {
    stored: Mutex<BTreeMap<String, Vec<LogLine>>>,
    live: broadcast::Sender<(String, LogLine)>,
    /// Sizes that terminals were given, for the test to see.
    pub(crate) sizes: Mutex<Option<mpsc::UnboundedReceiver<TerminalSize>>>,
}

impl Default for Processes {
    fn default() -> Self {
        Self { stored: Mutex::default(), live: broadcast::channel(64).0, sizes: Mutex::default() }
    }
}

impl Processes {
    /// Adds a line to the log of a pod.
    pub(crate) fn write_log(&self, pod: &str, time: Timestamp, text: &str) {
        let line = LogLine { time, text: format!("{text}\n").into() };
        let mut stored = self.stored.lock().unwrap();
        stored.entry(pod.into()).or_default().push(line.clone());
        let _ = self.live.send((pod.into(), line));
    }
}

impl Runtime for Processes {
    fn exec(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecSession, RuntimeError>> {
        Box::pin(async move {
            let (program, arguments) = request.command.split_first().unwrap();
            let mut command = Command::new(program);
            command.args(arguments).kill_on_drop(true);
            command.stdin(if request.stdin { Stdio::piped() } else { Stdio::null() });
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command
                .spawn()
                .map_err(|error| RuntimeError::Start { command: request.command.clone(), detail: error.to_string() })?;
            let (resize, sizes) = mpsc::unbounded_channel();
            *self.sizes.lock().unwrap() = Some(sizes);
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            Ok(ExecSession {
                stdin: stdin.map(|pipe| Box::pin(pipe) as _),
                stdout: stdout.map(|pipe| Box::pin(pipe) as _),
                stderr: stderr.map(|pipe| Box::pin(pipe) as _),
                resize: Some(resize),
                // The child moves into the future; dropping that kills it.
                exit: Box::pin(async move {
                    let status = child.wait().await.map_err(|error| RuntimeError::Failed(error.to_string()))?;
                    Ok(status.code().unwrap_or(137))
                }),
                kill_on_drop: Box::new(()),
            })
        })
    }

    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<Log, RuntimeError>> {
        Box::pin(async move {
            if request.previous {
                return Err(RuntimeError::NoLog("previous logs are not kept".into()));
            }
            let stored = self.stored.lock().unwrap();
            let live = BroadcastStream::new(self.live.subscribe());
            let pod = request.pod.clone();
            let live = live.filter_map(move |item| {
                let line = item.ok().filter(|(of, _)| *of == pod).map(|(_, line)| line);
                std::future::ready(line)
            });
            let lines = stored.get(&request.pod).cloned().unwrap_or_default();
            let live = if request.follow { live.boxed() } else { futures::stream::empty().boxed() };
            Ok(Log { stored: lines, live })
        })
    }
}
