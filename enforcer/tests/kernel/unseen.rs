//! Networks in which pods talk past the node's hooks: refused aloud, since nothing would be enforced (P22).

use std::net::Ipv4Addr;

use rtnetlink::{LinkBridge, LinkUnspec};
use serde_json::json;

use crate::cluster::Cluster;
use crate::health::{ask_port, eventually};
use crate::node::{self, Place};
use crate::probes::tcp;
use crate::scratch::{Namespace, in_scratch_namespace};

const HEALTH: u16 = 9808;

/// Two pods on a bridge of the node, as the plugin `bridge` leaves them.
fn bridged(addresses: [Ipv4Addr; 2]) -> [Place; 2] {
    node::within(async |links| {
        links.link().add(LinkBridge::new("cni0").build()).execute().await.expect("a bridge");
        let bridge = node::up(&links, "cni0").await;
        node::address_on(&links, bridge, Ipv4Addr::new(10, 1, 7, 1), 24).await;
    });
    let pods = addresses.map(|address| {
        let (namespace, name) = (Namespace::new(), format!("port{}", address.octets()[3]));
        node::within(async |links| {
            node::veth(&links, &name, &namespace).await;
            let (bridge, port) = (node::up(&links, "cni0").await, node::up(&links, &name).await);
            let attached = LinkUnspec::new_with_index(port).controller(bridge).build();
            links.link().set(attached).execute().await.expect("a port of the bridge");
        });
        namespace.run(|| {
            node::within(async |links| {
                let index = node::up(&links, "eth0").await;
                node::address_on(&links, index, address, 24).await;
                node::carries(&links, "eth0").await;
            });
        });
        // A port forwards once it is up.
        node::within(async |links| node::carries(&links, &name).await);
        Place { namespace, address: address.into() }
    });
    node::within(async |links| node::carries(&links, "cni0").await);
    pods
}

/// Why a pod is not enforced, by `/readyz`.
fn not_ready(cluster: &Cluster, name: &str, address: Ipv4Addr, part: &str) {
    cluster.add_pod(name, name, "node-1", address);
    eventually(&format!("{name} is refused"), || {
        let answer = ask_port(HEALTH, "/readyz");
        answer.contains("503") && answer.contains(&format!("pod default/{name} ({address})")) && answer.contains(part)
    });
    assert!(ask_port(HEALTH, "/healthz").contains("200 OK"), "it runs, and enforces what it can");
    cluster.delete_pod(name);
    eventually("ready without it", || ask_port(HEALTH, "/readyz").contains("200 OK"));
}

#[test]
fn pods_on_a_bridge_or_on_the_links_of_the_node_are_refused() {
    in_scratch_namespace("unseen::pods_on_a_bridge_or_on_the_links_of_the_node_are_refused", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        cluster.set_policy("closed", json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
        let addresses = [Ipv4Addr::new(10, 1, 7, 2), Ipv4Addr::new(10, 1, 7, 3)];
        let [one, other] = bridged(addresses);
        assert!(tcp(&one, &other, 80), "a bridge carries it past every rule");
        not_ready(&cluster, "bridged", addresses[0], "is a neighbour on cni0");
        // macvlan, and ipvlan in mode L2: addresses of the network that the node's own link is in, and no route of their own.
        not_ready(&cluster, "macvlan", Ipv4Addr::new(192, 168, 0, 77), "is a neighbour on eth0");
    });
}

#[test]
fn a_dns_cache_of_the_node_is_pointed_out() {
    in_scratch_namespace("unseen::a_dns_cache_of_the_node_is_pointed_out", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        assert_eq!(cluster.status()["advice"], json!([]));
        let other = Namespace::new();
        node::within(async |links| node::veth(&links, "nodelocaldns", &other).await);
        eventually("it names the flag", || cluster.status()["advice"].to_string().contains("--node-local-dns"));
        assert!(ask_port(HEALTH, "/readyz").contains("200 OK"), "it is no failure");
    });
}
