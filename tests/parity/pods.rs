//! Pods: addresses, and that every pair sees each other's.

use netpol_wire::Proto;
use serde_json::json;

use super::cluster::{addresses, in_world};

#[tokio::test]
async fn pods_of_every_node_reach_each_other_in_every_family_and_see_the_senders_own_address() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        assert!(nodes.len() >= 2, "the cluster needs two nodes for pods: {nodes:?}");
        let mut pods = Vec::new();
        for (number, node) in nodes.keys().take(2).chain(nodes.keys().take(1)).enumerate() {
            pods.push(world.ready(world.agent(&format!("pod-{number}"), json!({"nodeName": node}))).await);
        }
        for (from, pod) in pods.iter().enumerate() {
            let own = addresses(pod);
            for (to, other) in pods.iter().enumerate().filter(|(to, _)| *to != from) {
                for address in addresses(other) {
                    let mine = own.iter().find(|mine| mine.is_ipv4() == address.is_ipv4()).copied();
                    let name = format!("pod-{from}");
                    for proto in [Proto::Tcp, Proto::Udp] {
                        let seen = world.reaches(&name, proto, address, 8080).await;
                        assert_eq!(seen, mine, "pod-{from} to pod-{to} by {proto:?}");
                    }
                    world.reaches(&name, Proto::Icmp, address, 0).await;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_order_of_families_is_the_same_for_pods_and_nodes() {
    in_world(async |world| {
        let pod = world.ready(world.agent("pod", json!({}))).await;
        let status = pod.status.as_ref().unwrap();
        let families = |all: Vec<std::net::IpAddr>| all.into_iter().map(|ip| ip.is_ipv4()).collect::<Vec<_>>();
        let hosts: Vec<_> = status.host_ips.iter().flatten().map(|ip| ip.ip.parse().unwrap()).collect();
        assert_eq!(status.host_ip.as_ref().map(|ip| ip.parse().unwrap()), hosts.first().copied());
        assert_eq!(families(addresses(&pod)), families(hosts.clone()));
        let nodes = world.nodes().await;
        assert_eq!(nodes[pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap()], hosts);
    })
    .await;
}
