//! The whole enforcer against a real API server: its start before the server's, changes, a restart of the server.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use netpol_lab::api::resources::{EVENT, NAMESPACE, NETWORK_POLICY, POD};
use netpol_lab::api::{Credentials, DeleteOptions, Filter, Part, Store, kubeconfig};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::enforcer_arguments;
use crate::health::{ask_port, eventually};
use crate::node;
use crate::probes::tcp;
use crate::scratch::{Namespace, in_scratch_namespace};

const HEALTH: u16 = 9808;
const PORT: u16 = 8888;

fn add_pod(store: &Store, name: &str, address: IpAddr) {
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

/// The Events on policies.
fn refusals(store: &Store) -> Vec<Value> {
    let events = store.list(EVENT, &Filter::default()).items;
    let events = events.iter().map(|event| event.value().clone());
    events.filter(|event| event["reason"] == "PolicyRefused").collect()
}

fn ask(path: &str) -> String {
    ask_port(HEALTH, path)
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
        let arguments = enforcer_arguments(file.clone());
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

        let unknown = json!({ "podSelector": {}, "tomorrow": ["a field of a newer API server"] });
        add_policy(&store, "unknown", unknown);
        eventually("an Event on the policy that is refused", || !refusals(&store).is_empty());
        assert!(ask("/metrics").contains("netpol_refused_policies 1"), "{}", ask("/metrics"));
        store.delete(NETWORK_POLICY, "default", "unknown", &DeleteOptions::default()).expect("deleted");
        eventually("nothing is refused", || ask("/metrics").contains("netpol_refused_policies 0"));
        let [event] = &refusals(&store)[..] else { panic!("one: {:?}", refusals(&store)) };
        assert_eq!((event["type"].as_str(), event["reason"].as_str()), (Some("Warning"), Some("PolicyRefused")));
        let metrics = ask("/metrics");
        for line in ["netpol_policies 0", "netpol_local_pods 2", "netpol_event_to_kernel_seconds_bucket", "# EOF"] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }

        add_policy(&store, "isolate", isolate);
        eventually("isolated again", || !tcp(&client, &server, PORT));
        let stale = |kind: &str| -> u64 {
            let metrics = ask("/metrics");
            let mut lines = metrics.lines();
            let prefix = format!("netpol_watch_staleness_seconds{{kind=\"{kind}\"}} ");
            let seconds = lines.find_map(|line| line.strip_prefix(prefix.as_str())).expect("a gauge of that kind");
            seconds.parse().expect("whole seconds")
        };
        let kinds = ["namespaces", "networkpolicies", "pods"];
        assert_eq!(kinds.map(stale), [0; 3], "every watch runs");
        drop(api);
        eventually("it says for how long it has heard nothing", || kinds.iter().all(|kind| stale(kind) >= 1));
        assert!(!tcp(&client, &server, PORT), "the last state stands while the API server is away (P29)");
        store.delete(NETWORK_POLICY, "default", "isolate", &DeleteOptions::default()).expect("deleted");
        let _api = ApiServer::start(&store, TcpListener::bind(address).expect("the port again"), &credentials);
        eventually("what changed meanwhile is found", || tcp(&client, &server, PORT));
        assert_eq!(stale("networkpolicies"), 0, "it has heard again");
        assert!(ask("/readyz").contains("200 OK"));

        // As the plugin `bridge` does: the pods' network on one link of the node.
        node::within(async |links| node::bridge(&links, "client", client.address).await);
        eventually("a pod that is not seen", || {
            ask("/readyz").contains("pod default/client (10.1.0.3) has no host route")
        });
        store.delete(POD, "default", "client", &DeleteOptions::default()).expect("deleted");
        eventually("ready without it", || ask("/readyz").contains("200 OK"));
        let other = Namespace::new();
        node::within(async |links| node::veth(&links, "kube-ipvs0", &other).await);
        eventually("IPVS is refused", || ask("/readyz").contains("kube-proxy runs in IPVS mode"));
        assert!(ask("/healthz").contains("200 OK"));
    });
}
