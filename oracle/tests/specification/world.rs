//! A cluster to judge flows in, and flows in one line.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle::*;
use serde::Deserialize;

/// Policies from the YAML of several documents.
pub(crate) fn policies(yaml: &str) -> Vec<NetworkPolicy> {
    serde_yaml::Deserializer::from_str(yaml).map(|document| NetworkPolicy::deserialize(document).unwrap()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn pod(labels: Labels, ip: &str, node: &str, http: u16) -> Pod {
    let port = |name: &str, number| PodPort { name: Some(name.to_owned()), protocol: Protocol::Tcp, number };
    Pod {
        labels,
        ips: vec![format!("10.0.0.{ip}").parse().unwrap(), format!("fd00::{ip}").parse().unwrap()],
        node: node.to_owned(),
        ports: vec![port("http", http), port("alt", 81)],
        host_network: false,
    }
}

/// Namespaces x (team one) and y (team two); pods x/a, x/b, y/a, y/b, labelled by their names; x/a and y/a on node n1, the others
/// on n2; x/host in the network of n1. `http` is 80 in x and 8080 in y.
pub(crate) fn cluster(policies: Vec<NetworkPolicy>) -> Cluster {
    let name = |namespace: &str, name: &str| PodName { namespace: namespace.to_owned(), name: name.to_owned() };
    let mut host = pod(labels(&[("pod", "a")]), "1", "n1", 80);
    host.ips = vec!["192.0.2.1".parse().unwrap(), "fd01::1".parse().unwrap()];
    host.host_network = true;
    Cluster {
        namespaces: BTreeMap::from([
            ("x".to_owned(), Namespace { labels: labels(&[("team", "one")]) }),
            ("y".to_owned(), Namespace { labels: labels(&[("team", "two")]) }),
        ]),
        pods: BTreeMap::from([
            (name("x", "a"), pod(labels(&[("pod", "a")]), "11", "n1", 80)),
            (name("x", "b"), pod(labels(&[("pod", "b")]), "12", "n2", 80)),
            (name("x", "host"), host),
            (name("y", "a"), pod(labels(&[("pod", "a")]), "21", "n1", 8080)),
            (name("y", "b"), pod(labels(&[("pod", "b")]), "22", "n2", 8080)),
        ]),
        nodes: BTreeMap::from([
            ("n1".to_owned(), Node { ips: vec!["192.0.2.1".parse().unwrap(), "fd01::1".parse().unwrap()] }),
            ("n2".to_owned(), Node { ips: vec!["192.0.2.2".parse().unwrap(), "fd01::2".parse().unwrap()] }),
        ]),
        policies,
    }
}

/// `x/a > node:n1 tcp/80`, `10.9.9.9 > x/a icmp`, with ` v6` behind it where the family is IPv6.
pub(crate) fn flow(line: &str) -> Flow {
    let words: Vec<&str> = line.split_whitespace().collect();
    let end = |text: &str| match (text.parse(), text.split_once('/'), text.strip_prefix("node:")) {
        (Ok(address), _, _) => End::Outside(address),
        (_, Some((namespace, name)), _) => End::Pod(PodName { namespace: namespace.to_owned(), name: name.to_owned() }),
        (_, _, Some(node)) => End::Node(node.to_owned()),
        _ => panic!("'{text}' is no end"),
    };
    let traffic = match words[3].split_once('/') {
        None => Traffic::Icmp,
        Some(("tcp", port)) => Traffic::Tcp(port.parse().unwrap()),
        Some(("udp", port)) => Traffic::Udp(port.parse().unwrap()),
        Some((_, port)) => Traffic::Sctp(port.parse().unwrap()),
    };
    let family = if words.get(4) == Some(&"v6") { Family::V6 } else { Family::V4 };
    Flow { from: end(words[0]), to: end(words[2]), traffic, family }
}

pub(crate) fn judge(policies: Vec<NetworkPolicy>, line: &str) -> Judgement {
    Specification::new(&cluster(policies)).unwrap().judge(&flow(line)).unwrap()
}
