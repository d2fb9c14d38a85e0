//! `netpol cni` against a real API server and a real kernel: its routes, its configuration, what it says when something is
//! wrong.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use futures::TryStreamExt;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteProtocol};
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::cni::{self, CniArgs, conflist, routes::PROTOCOL};
use netpol_enforcer::{ApiServerArgs, EnforcerArgs};
use netpol_lab::api::resources::{NAMESPACE, NODE};
use netpol_lab::api::{Credentials, DeleteOptions, Part, Store, kubeconfig};
use netpol_nft::{Connection, Table, Transaction};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::enforcer_arguments;
use crate::health::{ask_port, eventually};
use crate::node::{address_on, route, up, veth, within};
use crate::scratch::{Namespace, in_scratch_namespace, make_read_only};

const HEALTH: u16 = 9809;
const ENFORCER: u16 = 9808;

/// A directory of its own, deleted with everything in it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netpol-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the namespace node `a`: `eth0` with an address of each family, and something beyond it.
fn node_a() -> Namespace {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0").expect("no forwarding");
    let beyond = Namespace::new();
    within(async |links| {
        up(&links, "lo").await;
        veth(&links, "eth0", &beyond).await;
        let eth0 = up(&links, "eth0").await;
        links.link().set(LinkUnspec::new_with_index(eth0).mtu(1400).build()).execute().await.expect("an MTU");
        address_on(&links, eth0, Ipv4Addr::new(172, 18, 0, 2), 16).await;
        address_on(&links, eth0, "fc00::2".parse::<Ipv6Addr>().expect("an address"), 64).await;
        // Somebody else's, in the way of node d.
        route(&links, eth0, Ipv4Addr::new(10, 244, 3, 0), 24, Some(Ipv4Addr::new(172, 18, 0, 9))).await;
    });
    beyond.run(|| {
        within(async |links| {
            up(&links, "eth0").await;
        });
    });
    beyond
}

fn add_node(store: &Store, name: &str, pod_cidrs: &[&str], addresses: &[&str]) {
    let node = json!({
        "metadata": { "name": name }, "spec": { "podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs },
    });
    store.create(NODE, "", node).expect("a node");
    set_addresses(store, name, addresses);
}

fn set_addresses(store: &Store, name: &str, addresses: &[&str]) {
    let listed: Vec<Value> =
        addresses.iter().map(|address| json!({ "type": "InternalIP", "address": address })).collect();
    let set = |node: &mut Value| {
        node["status"]["addresses"] = listed.into();
        Ok(())
    };
    store.modify(NODE, "", name, Part::Everything, set).expect("its addresses");
}

/// Routes of a protocol in the main table, by destination.
fn routes(protocol: RouteProtocol) -> BTreeMap<String, String> {
    let text = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => IpAddr::from(*address).to_string(),
        RouteAddress::Inet6(address) => IpAddr::from(*address).to_string(),
        other => panic!("{other:?} is no address"),
    };
    let mut found = BTreeMap::new();
    within(async |links| {
        let families = [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        for family in families {
            let listed: Vec<_> = links.route().get(family).execute().try_collect().await.expect("routes");
            for route in listed.iter().filter(|route| route.header.protocol == protocol) {
                let (mut to, mut via) = (String::new(), String::new());
                for attribute in &route.attributes {
                    match attribute {
                        RouteAttribute::Destination(address) => to = text(address),
                        RouteAttribute::Gateway(address) => via = text(address),
                        _ => {}
                    }
                }
                found.insert(format!("{to}/{}", route.header.destination_prefix_length), via);
            }
        }
    });
    found
}

fn ours() -> BTreeMap<String, String> {
    routes(RouteProtocol::from(PROTOCOL))
}

fn map(listed: &[(&str, &str)]) -> BTreeMap<String, String> {
    listed.iter().map(|(to, via)| ((*to).to_owned(), (*via).to_owned())).collect()
}

/// Deletes a route of ours, as somebody might.
fn delete_route(to: Ipv4Addr, length: u8) {
    within(async |links| {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, length);
        let route = route.protocol(RouteProtocol::from(PROTOCOL)).build();
        links.route().del(route).execute().await.expect("it was there");
    });
}

fn has_table(name: &str) -> bool {
    Connection::open().expect("nftables").tables().expect("tables").contains(&Table::inet(name))
}

fn ask(path: &str) -> String {
    ask_port(HEALTH, path)
}

#[test]
fn connects_a_node_once_it_can_be_policed() {
    in_scratch_namespace("cni::connects_a_node_once_it_can_be_policed", || {
        let _beyond = node_a();
        let store = Store::new();
        store.create(NAMESPACE, "", json!({ "metadata": { "name": "default" } })).expect("a namespace");
        add_node(&store, "a", &["10.244.0.0/24", "fd00:0:0:1::/64"], &["172.18.0.2", "fc00::2"]);
        add_node(&store, "b", &["10.244.1.0/24", "fd00:0:0:2::/64"], &["172.18.0.3", "fc00::3"]);
        let credentials = Arc::new(Credentials::new(&[]).expect("credentials"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        let directory = Directory::new("cni");
        let config_dir = directory.0.join("net.d");
        fs::create_dir(&config_dir).expect("a directory");
        let written = config_dir.join(conflist::FILE);
        fs::write(&written, "left from before the node booted").expect("a file");
        // The address in the kubeconfig leads nowhere; the one that is given does.
        let file = directory.0.join("kubeconfig");
        fs::write(&file, kubeconfig(&credentials, "https://127.0.0.1:1", "cni")).expect("a kubeconfig");
        let server = ApiServerArgs { kubeconfig: Some(file.clone()), apiserver: Some(format!("https://{address}")) };
        let arguments = CniArgs {
            server: server.clone(),
            node: "a".to_owned(),
            config_dir: config_dir.clone(),
            ready: format!("http://127.0.0.1:{ENFORCER}/readyz"),
            without_enforcer: false,
            mtu: None,
            health_port: HEALTH,
        };
        thread::spawn(|| cni::run(arguments).expect("netpol cni"));
        eventually("it waits for the API server", || ask("/readyz").contains("waiting for the first list of nodes"));
        assert!(ask("/healthz").contains("200 OK"));
        assert!(!written.exists(), "no pod is to start after a reboot that nobody can police (P41)");
        let api = ApiServer::start(&store, listener, &credentials);

        let to_b = map(&[("10.244.1.0/24", "172.18.0.3"), ("fd00:0:0:2::/64", "fc00::3")]);
        eventually("routes", || ours() == to_b);
        eventually("forwarding is on", || {
            fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").expect("a setting").trim() == "1"
        });
        eventually("what leaves is masqueraded", || has_table(cni::masquerade::TABLE));
        eventually("it waits for the enforcer", || {
            ask("/readyz").contains("no pod may start before the enforcer is ready")
        });
        assert!(!written.exists(), "not before the enforcer is ready");

        let enforcer = EnforcerArgs { server, node: "a".to_owned(), ..enforcer_arguments(file.clone()) };
        assert_eq!(enforcer.health_port, ENFORCER);
        thread::spawn(|| netpol_enforcer::run(enforcer).expect("the enforcer"));
        eventually("the configuration", || written.exists());
        assert!(ask_port(ENFORCER, "/readyz").contains("200 OK"));
        let list: Value = serde_json::from_str(&fs::read_to_string(&written).expect("a file")).expect("JSON");
        assert_eq!(list["plugins"][0]["mtu"], 1400, "that of the interface with the node's address");
        assert_eq!(list["plugins"][0]["ipam"]["ranges"][1][0]["subnet"], "fd00:0:0:1::/64");
        eventually("ready", || ask("/readyz").contains("200 OK"));
        let names: Vec<_> =
            fs::read_dir(&config_dir).expect("a directory").map(|file| file.expect("one").path()).collect();
        assert_eq!(names, std::slice::from_ref(&written), "nothing half-written stays");

        delete_route(Ipv4Addr::new(10, 244, 1, 0), 24);
        eventually("what somebody deleted is back", || ours() == to_b);
        let mut transaction = Transaction::new(Table::inet(cni::masquerade::TABLE));
        transaction.delete_table();
        Connection::open().expect("nftables").apply(&transaction).expect("deleted");
        // A change of routes has everything looked at.
        delete_route(Ipv4Addr::new(10, 244, 1, 0), 24);
        eventually("the rules are back", || has_table(cni::masquerade::TABLE) && ours() == to_b);

        add_node(&store, "c", &["10.244.2.0/24"], &["172.18.0.4"]);
        eventually("a node more", || ours().get("10.244.2.0/24").is_some_and(|via| via == "172.18.0.4"));
        set_addresses(&store, "c", &["172.18.0.5"]);
        eventually("its other address", || ours().get("10.244.2.0/24").is_some_and(|via| via == "172.18.0.5"));
        add_node(&store, "d", &["10.244.3.0/24"], &["172.18.0.6"]);
        eventually("a route in the way", || {
            ask("/readyz").contains("10.244.3.0/24 is routed by somebody else already")
        });
        add_node(&store, "e", &["10.244.4.0/24"], &["198.51.100.7"]);
        eventually("no neighbour", || ask("/readyz").contains("198.51.100.7, because that is no neighbour"));
        assert_eq!(routes(RouteProtocol::Static), map(&[("10.244.3.0/24", "172.18.0.9")]), "not ours to change");
        for name in ["c", "d", "e"] {
            store.delete(NODE, "", name, &DeleteOptions::default()).expect("deleted");
        }
        eventually("routes go with their nodes", || ours() == to_b);
        eventually("ready again", || ask("/readyz").contains("200 OK"));
        assert_eq!(routes(RouteProtocol::Static).len(), 1, "not ours to delete");

        drop(api);
        assert_eq!(ours(), to_b, "the last state stands while the API server is away (P29)");
        fs::write(config_dir.join("05-other.conflist"), "{}").expect("a file");
        delete_route(Ipv4Addr::new(10, 244, 1, 0), 24);
        eventually("another plugin is told of", || {
            ask("/readyz").contains("takes") && ask("/readyz").contains("05-other")
        });
        eventually("and routes are kept all the same", || ours() == to_b);
    });
}

/// In a container that is not privileged, on a node whose namespace came without forwarding: the configuration is written all the
/// same, because the plugin that it names switches forwarding on.
#[test]
fn without_an_enforcer_it_waits_for_none_and_without_forwarding_for_a_pod() {
    in_scratch_namespace("cni::without_an_enforcer_it_waits_for_none_and_without_forwarding_for_a_pod", || {
        let _beyond = node_a();
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("no forwarding");
        make_read_only("/proc/sys");
        let store = Store::new();
        let credentials = Arc::new(Credentials::new(&[]).expect("credentials"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let directory = Directory::new("cni-alone");
        let file = directory.0.join("kubeconfig");
        let address = format!("https://{}", listener.local_addr().expect("its number"));
        fs::write(&file, kubeconfig(&credentials, &address, "cni")).expect("a kubeconfig");
        let _api = ApiServer::start(&store, listener, &credentials);
        let config_dir = directory.0.join("net.d");
        let written = config_dir.join(conflist::FILE);
        let arguments = CniArgs {
            server: ApiServerArgs { kubeconfig: Some(file), apiserver: None },
            node: "a".to_owned(),
            config_dir: config_dir.clone(),
            ready: String::new(),
            without_enforcer: true,
            mtu: Some(1380),
            health_port: HEALTH,
        };
        thread::spawn(|| cni::run(arguments).expect("netpol cni"));
        eventually("no such node", || ask("/readyz").contains("there is no node a in the cluster"));
        add_node(&store, "a", &["10.244.0.0/24"], &["172.18.0.2"]);
        eventually("no directory", || ask("/readyz").contains("cannot write"));
        fs::create_dir(&config_dir).expect("a directory");
        eventually("ready", || ask("/readyz").contains("200 OK"));
        let list: Value = serde_json::from_str(&fs::read_to_string(&written).expect("a file")).expect("JSON");
        assert_eq!(list["plugins"][0]["mtu"], 1380);
        within(async |links| {
            let eth0 = up(&links, "eth0").await;
            route(&links, eth0, Ipv4Addr::new(10, 244, 0, 5), 32, None).await;
        });
        eventually("a pod that nothing is forwarded to", || ask("/readyz").contains("net.ipv4.ip_forward=1"));
        assert!(!Kernel::open().expect("nftables").has_table(netpol_enforcer::compile::TABLE).expect("tables"));
    });
}
