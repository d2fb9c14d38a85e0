//! Arbitrary policies against the oracle: it never panics, it judges every flow between what there is, and neither the order of
//! policies nor that of rules changes a verdict (N12).
//!
//! ```text
//! cargo +nightly fuzz run policies
//! ```
#![no_main]

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use libfuzzer_sys::fuzz_target;
use netpol_oracle::{
    Cluster, End, Family, Flow, Labels, Namespace, Node, Pod, PodName, PodPort, Protocol, Specification, Traffic,
};

/// Mostly one of the words that mean something, sometimes any text.
fn word(u: &mut Unstructured<'_>, words: &[&str]) -> Result<String> {
    if u.ratio(9, 10)? { Ok(u.choose(words)?.to_string()) } else { String::arbitrary(u) }
}

/// Absent, or up to three.
fn list<T>(
    u: &mut Unstructured<'_>,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    if u.arbitrary()? { (0..u.int_in_range(0..=3)?).map(|_| one(u)).collect::<Result<_>>().map(Some) } else { Ok(None) }
}

fn selector(u: &mut Unstructured<'_>) -> Result<LabelSelector> {
    let keys = ["app", "team", "kubernetes.io/metadata.name"];
    let values = ["a", "b", "x", "y", ""];
    let labels = list(u, |u| Ok((word(u, &keys)?, word(u, &values)?)))?;
    let expressions = list(u, |u| {
        Ok(LabelSelectorRequirement {
            key: word(u, &keys)?,
            operator: word(u, &["In", "NotIn", "Exists", "DoesNotExist"])?,
            values: list(u, |u| word(u, &values))?,
        })
    })?;
    Ok(LabelSelector { match_labels: labels.map(BTreeMap::from_iter), match_expressions: expressions })
}

fn peer(u: &mut Unstructured<'_>) -> Result<NetworkPolicyPeer> {
    let cidrs = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.1/32",
        "10.0.0.2/31",
        "::/0",
        "fd00::/64",
        "fd00::1/128",
        "::ffff:10.0.0.1/128",
    ];
    let some = |u: &mut Unstructured<'_>| u.ratio(2, 5);
    let ip_block =
        if some(u)? { Some(IPBlock { cidr: word(u, &cidrs)?, except: list(u, |u| word(u, &cidrs))? }) } else { None };
    let namespace_selector = if some(u)? { Some(selector(u)?) } else { None };
    let pod_selector = if some(u)? { Some(selector(u)?) } else { None };
    Ok(NetworkPolicyPeer { ip_block, namespace_selector, pod_selector })
}

fn port(u: &mut Unstructured<'_>) -> Result<NetworkPolicyPort> {
    let number = |u: &mut Unstructured<'_>| {
        if u.ratio(4, 5)? { u.choose(&[1, 80, 81, 65535]).copied() } else { u.arbitrary() }
    };
    let port = match u.int_in_range(0..=3)? {
        0 => None,
        1 => Some(IntOrString::String(word(u, &["http", "dns"])?)),
        _ => Some(IntOrString::Int(number(u)?)),
    };
    let end_port = if u.ratio(1, 3)? { Some(number(u)?) } else { None };
    let protocol = if u.arbitrary()? { Some(word(u, &["TCP", "UDP", "SCTP"])?) } else { None };
    Ok(NetworkPolicyPort { port, end_port, protocol })
}

fn policy(u: &mut Unstructured<'_>, index: usize) -> Result<NetworkPolicy> {
    let mut policy = NetworkPolicy::default();
    policy.metadata.name = Some(if u.ratio(9, 10)? { format!("p{index}") } else { String::arbitrary(u)? });
    policy.metadata.namespace = Some(word(u, &["x", "y"])?);
    policy.spec = Some(NetworkPolicySpec {
        pod_selector: if u.arbitrary()? { Some(selector(u)?) } else { None },
        policy_types: list(u, |u| word(u, &["Ingress", "Egress"]))?,
        ingress: list(u, |u| Ok(NetworkPolicyIngressRule { from: list(u, peer)?, ports: list(u, port)? }))?,
        egress: list(u, |u| Ok(NetworkPolicyEgressRule { to: list(u, peer)?, ports: list(u, port)? }))?,
    });
    Ok(policy)
}

fn cluster(policies: Vec<NetworkPolicy>) -> Cluster {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let mut cluster = Cluster { policies, ..Cluster::default() };
    for (namespace, team, number) in [("x", "a", 1_u16), ("y", "b", 2)] {
        cluster.namespaces.insert(namespace.to_owned(), Namespace { labels: labels(&[("team", team)]) });
        let port = PodPort { name: Some("http".to_owned()), protocol: Protocol::Tcp, number: 79 + number };
        let pod = Pod {
            labels: labels(&[("app", team)]),
            ips: vec![[10, 0, 0, number as u8].into(), [0xfd00, 0, 0, 0, 0, 0, 0, number].into()],
            node: format!("n{number}"),
            ports: vec![port],
            host_network: false,
        };
        cluster.pods.insert(PodName { namespace: namespace.to_owned(), name: "pod".to_owned() }, pod);
        let ips = vec![[192, 0, 2, number as u8].into(), [0xfd02, 0, 0, 0, 0, 0, 0, number].into()];
        cluster.nodes.insert(format!("n{number}"), Node { ips });
    }
    cluster
}

fn verdicts(cluster: &Cluster) -> Option<Vec<bool>> {
    let specification = Specification::new(cluster).ok()?;
    let mut ends: Vec<End> = cluster.pods.keys().cloned().map(End::Pod).collect();
    ends.extend(cluster.nodes.keys().cloned().map(End::Node));
    let mut verdicts = Vec::new();
    for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
        for traffic in [Traffic::Tcp(80), Traffic::Tcp(81), Traffic::Udp(65535), Traffic::Sctp(1), Traffic::Icmp] {
            for family in [Family::V4, Family::V6] {
                let flow = Flow { from: from.clone(), to: to.clone(), traffic, family };
                let judgement = specification.judge(&flow).expect("both ends are there");
                assert!(!judgement.reason.to_string().is_empty());
                verdicts.push(judgement.allowed);
            }
        }
    }
    Some(verdicts)
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let Ok(policies) = (0..3).map(|index| policy(&mut u, index)).collect::<Result<Vec<_>>>() else { return };
    let mut cluster = cluster(policies);
    let before = verdicts(&cluster);
    cluster.policies.reverse();
    for spec in cluster.policies.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
        spec.ingress.iter_mut().for_each(|rules| rules.reverse());
        spec.egress.iter_mut().for_each(|rules| rules.reverse());
    }
    assert_eq!(before, verdicts(&cluster), "order means nothing");
});
