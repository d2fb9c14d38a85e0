//! Pods in their node's network.

use k8s_openapi::api::core::v1::Pod;
use netpol_wire::Proto;
use serde_json::json;

use super::cluster::{addresses, in_world};

/// Ports of hostNetwork pods belong to their nodes: nobody else's are used here.
const PORT: u16 = 18_080;

#[tokio::test]
async fn a_host_network_pod_has_its_nodes_addresses_and_answers_there() {
    in_world(async |world| {
        let nodes = world.nodes().await;
        let (first, second) = (nodes.keys().next().unwrap(), nodes.keys().nth(1).unwrap());
        let listen = json!([{"args": ["agent", "server", "--port", PORT.to_string()]}]);
        let on_node = json!({"nodeName": first, "hostNetwork": true, "containers": listen});
        let host: Pod = world.ready(world.agent("host", on_node)).await;
        assert_eq!(addresses(&host), nodes[first]);
        for (name, node) in [("neighbour", first), ("far", second)] {
            let pod = world.ready(world.agent(name, json!({"nodeName": node}))).await;
            for address in addresses(&host) {
                world.reaches(name, Proto::Tcp, address, PORT).await;
            }
            // From the node itself a pod is reached as well.
            for address in addresses(&pod) {
                world.reaches("host", Proto::Tcp, address, 8080).await;
            }
        }
    })
    .await;
}
