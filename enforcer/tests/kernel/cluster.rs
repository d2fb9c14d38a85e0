//! A cluster of one node: the lab's API server, a server, its friend and its enemy, and enforcers that can be killed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::{env, fs};

use netpol_enforcer::compile::{OwnNode, TABLE, compile};
use netpol_enforcer::world::{Change, Delta, Namespace, Pod, Policy, World};
use netpol_enforcer::{ApiServerArgs, EnforcerArgs, LogFormat};
use netpol_lab::api::resources::{NAMESPACE, NETWORK_POLICY, POD};
use netpol_lab::api::{Credentials, DeleteOptions, Filter, Kind, Misbehaviour, Object, Part, Store, kubeconfig};
use netpol_nft::{Connection, Ruleset, Table};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::health::{ask_port, eventually};
use crate::manifests::{comparable, site};
use crate::node::{self, Place};
use crate::traffic::Traffic;

const HEALTH: u16 = 9808;
/// Says to [`the_enforcer_of_a_cluster`] where the API server is.
const KUBECONFIG: &str = "NETPOL_ENFORCER_TEST_KUBECONFIG";

/// The server hears its friend, on the same node, and not its enemy, outside.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) misbehaviour: Misbehaviour,
    pub(crate) server: Place,
    pub(crate) friend: Place,
    pub(crate) enemy: Place,
    kubeconfig: PathBuf,
    _node: Place,
    _api_server: ApiServer,
}

/// An enforcer in a process of its own, killed when it is dropped.
pub(crate) struct Enforcer(Child);

impl Cluster {
    pub(crate) fn new() -> Self {
        let node = node::node();
        let server = node::pod("server", Ipv4Addr::new(10, 1, 0, 2));
        let friend = node::pod("friend", Ipv4Addr::new(10, 1, 0, 3));
        let enemy = node::outside(Ipv4Addr::new(10, 2, 0, 2));
        let store = Store::new();
        let misbehaviour = Misbehaviour::new(&store);
        let credentials = Arc::new(Credentials::new(&[]).expect("credentials"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address: SocketAddr = listener.local_addr().expect("its number");
        let kubeconfig_file = env::temp_dir().join(format!("netpol-enforcer-cluster-{}.yaml", std::process::id()));
        fs::write(&kubeconfig_file, kubeconfig(&credentials, &format!("https://{address}"), "test")).expect("a file");
        let api_server = ApiServer::misbehaving(&store, listener, &credentials, misbehaviour.clone());
        store.create(NAMESPACE, "", json!({ "metadata": { "name": "default" } })).expect("a namespace");
        let cluster = Self {
            store,
            misbehaviour,
            server,
            friend,
            enemy,
            kubeconfig: kubeconfig_file,
            _node: node,
            _api_server: api_server,
        };
        cluster.add_pod("server", "server", "node-1", Ipv4Addr::new(10, 1, 0, 2));
        cluster.add_pod("friend", "friend", "node-1", Ipv4Addr::new(10, 1, 0, 3));
        cluster.add_pod("enemy", "enemy", "node-2", Ipv4Addr::new(10, 2, 0, 2));
        cluster.set_policy("friend", from_app("server", "friend"));
        cluster
    }

    pub(crate) fn add_pod(&self, name: &str, app: &str, node: &str, address: Ipv4Addr) {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": app } },
            "spec": { "nodeName": node, "containers": [{ "name": "main", "image": "netpol" }] },
        });
        self.store.create(POD, "default", pod).expect("a pod");
        let run = |pod: &mut Value| {
            pod["status"]["phase"] = "Running".into();
            pod["status"]["podIP"] = address.to_string().into();
            pod["status"]["podIPs"] = json!([{ "ip": address.to_string() }]);
            Ok(())
        };
        self.store.modify(POD, "default", name, Part::Everything, run).expect("it runs");
    }

    /// It is gone at once, as one whose grace is over.
    pub(crate) fn delete_pod(&self, name: &str) {
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        self.store.delete(POD, "default", name, &options).expect("deleted");
    }

    pub(crate) fn set_policy(&self, name: &str, spec: Value) {
        let set = |policy: &mut Value| {
            policy["spec"] = spec.clone();
            Ok(())
        };
        if self.store.modify(NETWORK_POLICY, "default", name, Part::Everything, set).is_err() {
            let policy = json!({ "metadata": { "name": name }, "spec": spec });
            self.store.create(NETWORK_POLICY, "default", policy).expect("a policy");
        }
    }

    pub(crate) fn delete_policy(&self, name: &str) {
        self.store.delete(NETWORK_POLICY, "default", name, &DeleteOptions::default()).expect("deleted");
    }

    /// A change of policies that changes nothing between the three.
    pub(crate) fn churn(&self, turn: usize) {
        match turn % 4 {
            0 => self.set_policy("beside", from_app("server", &format!("app-{turn}"))),
            1 => self.set_policy("friend", from_app("server", "friend")),
            2 => self.delete_policy("beside"),
            _ => {
                let block = json!([{ "from": [{ "ipBlock": { "cidr": format!("10.1.{}.0/22", turn % 8 / 4 * 4) } }] }]);
                let server = json!({ "matchLabels": { "app": "server" } });
                self.set_policy("block", json!({ "podSelector": server, "ingress": block }));
            }
        }
    }

    /// Starts an enforcer.
    pub(crate) fn enforcer(&self) -> Enforcer {
        let test = "cluster::the_enforcer_of_a_cluster";
        let mut command = Command::new(env::current_exe().expect("the test's own path"));
        command.args([test, "--exact", "--ignored", "--nocapture"]).env(KUBECONFIG, &self.kubeconfig);
        Enforcer(command.spawn().expect("the test program runs again"))
    }

    /// Starts an enforcer, and waits until it is ready.
    pub(crate) fn ready_enforcer(&self) -> Enforcer {
        let enforcer = self.enforcer();
        eventually("ready", || ask_port(HEALTH, "/readyz").contains("200 OK"));
        enforcer
    }

    /// What the enforcer tells of itself.
    pub(crate) fn status(&self) -> Value {
        let answer = ask_port(HEALTH, "/status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_default()
    }

    /// What the kernel has to hold by what the API server holds.
    fn desired(&self) -> Ruleset {
        fn read<K: DeserializeOwned, T>(store: &Store, kind: &'static Kind, read: fn(&K) -> T) -> Delta<T> {
            let objects = store.list(kind, &Filter::default()).items;
            let object = |object: &Arc<Object>| object.parse::<K>().expect("an object of its kind");
            Delta::All(objects.iter().map(|found| read(&object(found))).collect())
        }
        let mut world = World::default();
        world.apply(Change::Namespaces(read(&self.store, NAMESPACE, Namespace::read)));
        world.apply(Change::Pods(read(&self.store, POD, Pod::read)));
        world.apply(Change::Policies(read(&self.store, NETWORK_POLICY, Policy::read_raw)));
        compile(&world, &site("node-1")).canonical()
    }

    /// Waits until the kernel holds what the objects say.
    pub(crate) fn settles(&self, after: &str) {
        let mut kernel = Connection::open().expect("nftables");
        let mut held = || kernel.ruleset(&Table::inet(TABLE)).expect("read").map(|held| comparable(&held));
        eventually(&format!("the rules are as the objects say, after {after}"), || {
            held() == Some(comparable(&self.desired()))
        });
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::start(&self.server, &self.friend, &self.enemy)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

impl Enforcer {
    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and waits for its end. Returns whether it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).expect("it runs");
        self.0.wait().expect("its end").success()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The enforcer of node-1 of an API server.
pub(crate) fn enforcer_arguments(kubeconfig: PathBuf) -> EnforcerArgs {
    EnforcerArgs {
        server: ApiServerArgs { kubeconfig: Some(kubeconfig), apiserver: None },
        node: "node-1".to_owned(),
        health_port: 9808,
        dry_run: false,
        filename: Vec::new(),
        pod_to_own_node: OwnNode::Policed,
        node_local_dns: Vec::new(),
        log_format: LogFormat::Text,
    }
}

/// Pods with this label hear those with that one.
pub(crate) fn from_app(subject: &str, peer: &str) -> Value {
    let peer = json!({ "podSelector": { "matchLabels": { "app": peer } } });
    json!({
        "podSelector": { "matchLabels": { "app": subject } }, "policyTypes": ["Ingress"], "ingress": [{ "from": [peer] }],
    })
}

#[test]
#[ignore = "is a process that other tests start and kill"]
fn the_enforcer_of_a_cluster() {
    let kubeconfig = env::var_os(KUBECONFIG).expect("other tests start this one");
    netpol_enforcer::run(enforcer_arguments(kubeconfig.into())).expect("the enforcer");
}
