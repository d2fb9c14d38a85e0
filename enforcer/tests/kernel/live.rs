//! The whole enforcer against a real API server: its start before the server's, changes, a restart of the server.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use netpol_enforcer::EnforcerArgs;
use netpol_lab::api::resources::{NAMESPACE, NETWORK_POLICY, POD};
use netpol_lab::api::runtime::{ExecRequest, ExecSession, Log, LogRequest, RuntimeError};
use netpol_lab::api::{Credentials, DeleteOptions, Part, Runtime, Store, kubeconfig, serve};
use serde_json::{Value, json};

use crate::node;
use crate::probes::tcp;
use crate::scratch::in_scratch_namespace;

const HEALTH: u16 = 9808;
const PORT: u16 = 8888;

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
struct ApiServer(Option<tokio::runtime::Runtime>);

impl ApiServer {
    fn start(store: &Store, listener: TcpListener, credentials: &Arc<Credentials>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (store, credentials) = (store.clone(), Arc::clone(credentials));
        runtime.spawn(async move { serve(store, Arc::new(NoContainers), vec![listener], &credentials).await });
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

fn add_pod(store: &Store, name: &str, address: Ipv4Addr) {
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "main", "image": "netpol" }] },
    });
    store.create(POD, "default", pod).expect("a pod");
    let run = |pod: &mut Value| {
        pod["status"]["phase"] = "Running".into();
        pod["status"]["podIP"] = address.to_string().into();
        pod["status"]["podIPs"] = json!([{ "ip": address.to_string() }]);
        Ok(())
    };
    store.modify(POD, "default", name, Part::Everything, run).expect("it runs");
}

fn add_policy(store: &Store, name: &str, spec: Value) {
    let policy = json!({ "metadata": { "name": name }, "spec": spec });
    store.create(NETWORK_POLICY, "default", policy).expect("a policy");
}

/// Asks the enforcer; nothing while it does not listen.
fn ask(path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, HEALTH)) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}

/// Waits until it holds, at most five seconds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within five seconds; status: {}", ask("/status"));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn follows_the_api_server_and_outlives_it() {
    in_scratch_namespace("live::follows_the_api_server_and_outlives_it", || {
        let _node = node::node();
        let server = node::pod("server", Ipv4Addr::new(10, 1, 0, 2));
        let client = node::pod("client", Ipv4Addr::new(10, 1, 0, 3));
        let store = Store::new();
        store.create(NAMESPACE, "", json!({ "metadata": { "name": "default" } })).expect("a namespace");
        add_pod(&store, "server", server.address);
        add_pod(&store, "client", client.address);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        drop(listener);
        let credentials = Arc::new(Credentials::new(&[]).expect("credentials"));
        let file = std::env::temp_dir().join(format!("netpol-enforcer-live-{}.yaml", std::process::id()));
        fs::write(&file, kubeconfig(&credentials, &format!("https://{address}"), "live")).expect("a kubeconfig");
        let arguments = EnforcerArgs {
            kubeconfig: Some(file.clone()),
            node: "node-1".to_owned(),
            health_port: HEALTH,
            dry_run: false,
            leave_own_node_open: false,
        };
        thread::spawn(|| netpol_enforcer::run(arguments).expect("the enforcer"));

        eventually("it says what it waits for", || ask("/readyz").contains("503") && ask("/readyz").contains("pods"));
        assert!(ask("/healthz").contains("200 OK"));
        fs::remove_file(&file).expect("read by now");
        assert!(!tcp(&client, &server, PORT), "closed until the cluster is known (P41)");

        let api = ApiServer::start(&store, TcpListener::bind(address).expect("the port again"), &credentials);
        eventually("ready", || ask("/readyz").contains("200 OK"));
        assert!(tcp(&client, &server, PORT), "nobody is isolated (N1)");

        let isolate = json!({ "podSelector": { "matchLabels": { "app": "server" } }, "policyTypes": ["Ingress"] });
        add_policy(&store, "isolate", isolate.clone());
        eventually("isolated", || !tcp(&client, &server, PORT));
        store.delete(NETWORK_POLICY, "default", "isolate", &DeleteOptions::default()).expect("deleted");
        eventually("open again (N64)", || tcp(&client, &server, PORT));

        add_policy(&store, "named", json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": "http" }] }] }));
        eventually("refused by name", || ask("/status").contains("named port \\\"http\\\" is not supported yet"));
        assert!(!tcp(&client, &server, PORT), "and closed (P31)");
        drop(api);
        assert!(!tcp(&client, &server, PORT), "the last state stands while the API server is away (P29)");
        store.delete(NETWORK_POLICY, "default", "named", &DeleteOptions::default()).expect("deleted");
        let _api = ApiServer::start(&store, TcpListener::bind(address).expect("the port again"), &credentials);
        eventually("what changed meanwhile is found", || tcp(&client, &server, PORT));
        assert!(ask("/readyz").contains("200 OK"));
    });
}
