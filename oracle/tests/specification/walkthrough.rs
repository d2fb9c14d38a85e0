//! The table of the walkthrough, as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle::*;

const ALLOW_US_EAST: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-us-east, namespace: network-policy}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {region: us-east}}}], ports: [{port: 8888}]}]
  egress: [{}]
";
const BLOCK_US_EAST_EGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: block-us-east-egress, namespace: network-policy}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.1.2/32]}}]}]
";

fn name(name: &str) -> PodName {
    PodName { namespace: "network-policy".to_owned(), name: name.to_owned() }
}

fn pod(key: &str, value: &str, ip: &str, node: &str) -> Pod {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Pod { labels, ips: vec![ip.parse().unwrap()], node: node.to_owned(), ports: Vec::new(), host_network: false }
}

fn stage(policies: &[&str]) -> Vec<bool> {
    let cluster = Cluster {
        namespaces: BTreeMap::from([("network-policy".to_owned(), Namespace::default())]),
        pods: BTreeMap::from([
            (name("server"), pod("app", "server", "10.244.0.2", "a")),
            (name("client-us-east"), pod("region", "us-east", "10.244.1.2", "b")),
            (name("client-us-west"), pod("region", "us-west", "10.244.0.3", "a")),
        ]),
        nodes: BTreeMap::new(),
        policies: policies.iter().map(|yaml| serde_yaml::from_str::<NetworkPolicy>(yaml).unwrap()).collect(),
    };
    let specification = Specification::new(&cluster).unwrap();
    let judge = |from: &str, to: &str, traffic| {
        let flow = Flow { from: End::Pod(name(from)), to: End::Pod(name(to)), traffic, family: Family::V4 };
        specification.judge(&flow).unwrap().allowed
    };
    let (server, east, west, http) = ("server", "client-us-east", "client-us-west", Traffic::Tcp(8888));
    vec![
        judge(east, server, http),
        judge(west, server, http),
        judge(server, east, Traffic::Icmp),
        judge(server, west, Traffic::Icmp),
        judge(server, east, http),
        // Stage 1, level stateful: the rule names a port (N48).
        judge(east, server, Traffic::Icmp),
    ]
}

#[test]
fn the_table_is_as_the_lesson_shows_it() {
    let stages = [
        stage(&[]),
        stage(&[ALLOW_US_EAST]),
        stage(&[ALLOW_US_EAST, BLOCK_US_EAST_EGRESS]),
        stage(&[BLOCK_US_EAST_EGRESS]),
        stage(&[]),
    ];
    let (yes, no) = (true, false);
    //   E→S  W→S  ping S→E  ping S→W  S→E  ping E→S
    let table = [
        vec![yes, yes, yes, yes, yes, yes],
        vec![yes, no, yes, yes, yes, no],
        vec![yes, no, yes, yes, yes, no],
        vec![yes, yes, no, yes, no, yes],
        vec![yes, yes, yes, yes, yes, yes],
    ];
    assert_eq!(stages, table);
}
