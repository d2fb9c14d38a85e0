//! NodePort Services, from outside and from inside, with both traffic policies.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use kube::api::ListParams;
use netpol_wire::{Got, Proto};
use serde_json::json;

use super::cluster::{World, addresses, in_world, internal};

/// The ports of the outside clients' agents: those of one node have each its own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(18_100);

impl World {
    /// A client beyond the pods' network: in the lab on the node `outside`, elsewhere in a node's own network that is none of
    /// `not_on`. Its addresses are no pod's, and the way to another node's port is that of any outside client.
    /// Also the port that it listens on.
    pub(crate) async fn outside(&self, name: &str, not_on: &[&str]) -> (Pod, u16) {
        let labelled = ListParams::default().labels("netpol.dev/outside");
        let beyond = Api::<Node>::all(self.client.clone()).list(&labelled).await.unwrap().items;
        let nodes = self.nodes().await;
        let node = match beyond.first() {
            Some(node) => node.metadata.name.clone().unwrap(),
            None => nodes.into_keys().find(|node| !not_on.contains(&node.as_str())).unwrap_or_else(|| {
                panic!("a client from outside needs a node beside {not_on:?}, or one labelled netpol.dev/outside")
            }),
        };
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let listen = json!([{"args": ["agent", "server", "--port", port.to_string()]}]);
        let spec = json!({
            "nodeName": node, "hostNetwork": true, "containers": listen, "tolerations": [{"operator": "Exists"}],
        });
        (self.ready(self.agent(name, spec)).await, port)
    }
}

/// The number of the Service's only node port.
fn node_port(service: &Service) -> u16 {
    let port = service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].node_port.unwrap();
    u16::try_from(port).unwrap()
}

fn of_family(all: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    all.iter().copied().find(|own| own.is_ipv4() == like.is_ipv4())
}

#[tokio::test]
async fn with_policy_cluster_every_node_answers_outside_clients_by_its_own_address() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let names: Vec<&str> = nodes.keys().map(String::as_str).collect();
        world.ready(world.agent("server", json!({"nodeName": names[0]}))).await;
        let service = world.service("server", "server", json!({"type": "NodePort"})).await;
        let spec = service.spec.as_ref().unwrap();
        assert_eq!(spec.external_traffic_policy.as_deref(), Some("Cluster"));
        assert!((30_000..=32_767).contains(&node_port(&service)));
        let client = addresses(&world.outside("client", &names[..2]).await.0);
        for name in &names[..2] {
            for ip in &nodes[*name] {
                let seen = world.reaches("client", Proto::Tcp, *ip, node_port(&service)).await;
                assert!(
                    seen.is_some() && seen != of_family(&client, *ip),
                    "{name} hides the client's address: {seen:?}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn with_policy_local_the_clients_address_is_seen_and_other_nodes_are_silent() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let names: Vec<&str> = nodes.keys().map(String::as_str).collect();
        world.ready(world.agent("server", json!({"nodeName": names[0]}))).await;
        let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
        let service = world.service("server", "server", local).await;
        let client = addresses(&world.outside("client", &names[..2]).await.0);
        for ip in &nodes[names[0]] {
            let seen = world.reaches("client", Proto::Tcp, *ip, node_port(&service)).await;
            assert_eq!(seen, of_family(&client, *ip));
        }
        for ip in &nodes[names[1]] {
            let result = world.probe("client", Proto::Tcp, *ip, node_port(&service)).await;
            assert_eq!(result.got, Got::Timeout, "no endpoint is on {}: {result:?}", names[1]);
        }
    })
    .await;
}

/// Where every node has an endpoint, none may be sent to another's: one that refuses shows who was chosen.
#[tokio::test]
async fn with_policy_local_a_node_sends_to_no_endpoint_but_its_own() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let names: Vec<&str> = nodes.keys().map(String::as_str).collect();
        for (name, node, declared) in [("answers", names[0], 8080), ("refuses", names[1], 9)] {
            let container = json!([{"ports": [{"name": "probe", "containerPort": declared}]}]);
            let mut pod = world.agent(name, json!({"nodeName": node, "containers": container}));
            pod["metadata"]["labels"]["app"] = "both".into();
            world.ready(pod).await;
        }
        let ports = json!([{"port": 80, "targetPort": "probe"}]);
        let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": ports});
        let service = world.service("both", "both", spec).await;
        world.outside("client", &names[..2]).await;
        for (name, wanted) in [(names[0], Got::Reply), (names[1], Got::Rst)] {
            for ip in &nodes[name] {
                let what = format!("{name} answers with {wanted:?}");
                let answered = async || {
                    let got = world.probe("client", Proto::Tcp, *ip, node_port(&service)).await.got;
                    matches!(got, Got::Reply | Got::Rst).then_some(())
                };
                world.eventually(&what, answered).await;
                let all = world.probes("client", Proto::Tcp, *ip, node_port(&service), 30).await;
                assert!(all.iter().all(|result| result.got == wanted), "{what}: {all:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_reaches_a_node_port_of_its_own_node_and_of_others() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let names: Vec<&str> = nodes.keys().map(String::as_str).collect();
        world.ready(world.agent("server", json!({"nodeName": names[0]}))).await;
        world.ready(world.agent("client", json!({"nodeName": names[1]}))).await;
        for (name, policy) in [("cluster", "Cluster"), ("local", "Local")] {
            let spec = json!({"type": "NodePort", "externalTrafficPolicy": policy});
            let service = world.service(name, "server", spec).await;
            for node in &names[..2] {
                // With Local even a node without an endpoint answers, since it is the pod's own.
                for ip in &nodes[*node] {
                    world.reaches("client", Proto::Tcp, *ip, node_port(&service)).await;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_outside_is_no_pod_and_no_node_for_pods() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let (client, port) = world.outside("client", &[]).await;
        let all = Api::<Node>::all(world.client.clone()).list(&ListParams::default()).await.unwrap();
        let own = client.spec.as_ref().unwrap().node_name.clone();
        let own = all.items.iter().find(|node| node.metadata.name == own).unwrap();
        assert_eq!(addresses(&client), internal(own));
        // A pod reaches it, by whichever address the cluster gives its traffic outside.
        let first = nodes.keys().next().unwrap();
        world.ready(world.agent("pod", json!({"nodeName": first}))).await;
        for ip in addresses(&client) {
            world.reaches("pod", Proto::Tcp, ip, port).await;
        }
    })
    .await;
}
