//! Random policies, with every construct of `networking.k8s.io/v1`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle::Family;
use serde_json::{Map, Value, json};

use crate::generate::{Generator, LABELS, NAMESPACES, typed};
use crate::place::{NODES, local_address, node_address, remote_address};
use crate::world::{World, addresses};

/// Ports that rules name and packets try.
pub(crate) const NUMBERS: [u16; 10] = [1, 53, 79, 80, 81, 443, 5353, 8080, 8081, 65535];
const NAMES: [&str; 4] = ["http", "dns", "sig", "none"];

pub(crate) fn policy(generator: &mut Generator, world: &World) -> NetworkPolicy {
    let number = generator.next_number();
    let mut spec = Map::new();
    if generator.chance(95) {
        spec.insert("podSelector".to_owned(), selector(generator, false));
    }
    match generator.random.u8(..10) {
        0..4 => {}
        4 => drop(spec.insert("policyTypes".to_owned(), json!([]))),
        5 => drop(spec.insert("policyTypes".to_owned(), json!(["Ingress"]))),
        6 => drop(spec.insert("policyTypes".to_owned(), json!(["Egress"]))),
        7 => drop(spec.insert("policyTypes".to_owned(), json!(["Egress", "Egress"]))),
        _ => drop(spec.insert("policyTypes".to_owned(), json!(["Ingress", "Egress"]))),
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        if let Some(rules) = list(generator, 3, |generator| rule(generator, world, peers)) {
            spec.insert(direction.to_owned(), rules);
        }
    }
    if generator.chance(4) {
        break_one_thing(generator, &mut spec);
    }
    typed(json!({
        "metadata": {
            "namespace": generator.pick(&NAMESPACES), "name": format!("policy-{number}"), "uid": format!("policy-{number}"),
            "generation": 1,
        },
        "spec": spec,
    }))
}

/// Adds a rule that the API server would refuse; an enforcer may meet one that an older server let pass.
fn break_one_thing(generator: &mut Generator, spec: &mut Map<String, Value>) {
    let rules = [
        json!({ "ports": [{ "protocol": "ICMP" }] }),
        json!({ "ports": [{ "port": 0 }] }),
        json!({ "ports": [{ "port": 81, "endPort": 80 }] }),
        json!({ "ports": [{ "endPort": 80 }] }),
        json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] }),
        json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["ten"] } }] }),
        json!({ "from": [{ "podSelector": { "matchExpressions": [{ "key": "app", "operator": "Near", "values": ["a"] }] } }] }),
        json!({ "from": [{ "podSelector": { "matchExpressions": [{ "key": "app", "operator": "In" }] } }] }),
    ];
    let rule = rules[generator.random.usize(..rules.len())].clone();
    match spec.get_mut("ingress").and_then(Value::as_array_mut) {
        Some(listed) => listed.push(rule),
        None => drop(spec.insert("ingress".to_owned(), json!([rule]))),
    }
}

/// Absent, empty, or a few.
fn list(generator: &mut Generator, most: usize, mut one: impl FnMut(&mut Generator) -> Value) -> Option<Value> {
    match generator.random.u8(..10) {
        0..2 => None,
        2 => Some(json!([])),
        _ => Some((0..generator.random.usize(1..=most)).map(|_| one(generator)).collect()),
    }
}

fn rule(generator: &mut Generator, world: &World, peers: &str) -> Value {
    let mut rule = Map::new();
    if let Some(listed) = list(generator, 3, |generator| peer(generator, world)) {
        rule.insert(peers.to_owned(), listed);
    }
    // An egress port by name beside a block is undefined (N42).
    let blocks =
        rule.get(peers).and_then(Value::as_array).into_iter().flatten().any(|peer| peer.get("ipBlock").is_some());
    if let Some(listed) = list(generator, 3, |generator| port(generator, peers == "from" || !blocks)) {
        rule.insert("ports".to_owned(), listed);
    }
    rule.into()
}

fn peer(generator: &mut Generator, world: &World) -> Value {
    match generator.random.u8(..9) {
        0..2 => json!({ "podSelector": selector(generator, false) }),
        2..4 => json!({ "namespaceSelector": selector(generator, true) }),
        4..6 => json!({ "podSelector": selector(generator, false), "namespaceSelector": selector(generator, true) }),
        _ => json!({ "ipBlock": block(generator, world) }),
    }
}

fn selector(generator: &mut Generator, of_namespaces: bool) -> Value {
    let mut selector = Map::new();
    let shape = generator.random.u8(..10);
    if matches!(shape, 3..6 | 9) {
        let mut labels = Map::new();
        if of_namespaces && generator.chance(30) {
            labels.insert("kubernetes.io/metadata.name".to_owned(), generator.pick(&NAMESPACES).into());
        } else {
            let (key, values) = generator.pick(&LABELS);
            labels.insert(key.to_owned(), generator.pick(&values).into());
        }
        selector.insert("matchLabels".to_owned(), labels.into());
    }
    if shape >= 6 {
        let expressions: Vec<Value> = (0..generator.random.usize(1..=2)).map(|_| expression(generator)).collect();
        selector.insert("matchExpressions".to_owned(), expressions.into());
    }
    selector.into()
}

fn expression(generator: &mut Generator) -> Value {
    let (key, values) = generator.pick(&LABELS);
    let few = |generator: &mut Generator| {
        (0..generator.random.usize(1..=2)).map(|_| generator.pick(&values)).collect::<Vec<_>>()
    };
    match generator.random.u8(..4) {
        0 => json!({ "key": key, "operator": "In", "values": few(generator) }),
        1 => json!({ "key": key, "operator": "NotIn", "values": few(generator) }),
        2 => json!({ "key": key, "operator": "Exists" }),
        _ => json!({ "key": key, "operator": "DoesNotExist" }),
    }
}

/// A CIDR around something that there is, or one of everything, with holes that overlap, nest, or are single addresses.
fn block(generator: &mut Generator, world: &World) -> Value {
    let around = address(generator, world);
    let width = if around.is_ipv4() { 32 } else { 128 };
    let prefixes: &[u8] =
        if around.is_ipv4() { &[0, 1, 8, 16, 24, 30, 31, 32] } else { &[0, 1, 8, 32, 64, 126, 127, 128] };
    let prefix = generator.pick(prefixes);
    let cidr = IpNet::new(around, prefix).expect("a prefix of its family");
    let mut except = Vec::new();
    while prefix < width && except.len() < 3 && generator.chance(45) {
        let inner = address(generator, world);
        let inner = if cidr.contains(&inner) { inner } else { around };
        let longer: Vec<u8> = prefixes.iter().copied().filter(|longer| *longer > prefix).collect();
        except.push(IpNet::new(inner, generator.pick(&longer)).expect("a prefix of its family").to_string());
    }
    // Host bits beyond the prefix are legal before 1.36.
    let cidr = if generator.chance(20) { cidr } else { cidr.trunc() };
    if except.is_empty() { json!({ "cidr": cidr }) } else { json!({ "cidr": cidr, "except": except }) }
}

/// An address that somebody may have.
pub(crate) fn address(generator: &mut Generator, world: &World) -> IpAddr {
    let family = generator.pick(&[Family::V4, Family::V6]);
    let pods: Vec<IpAddr> = world.pods.iter().flat_map(addresses).collect();
    match generator.random.u8(..8) {
        0..4 if !pods.is_empty() => generator.pick(&pods),
        4 => local_address(generator.random.u8(..4), family),
        5 => remote_address(generator.random.u8(..6), family),
        6 => node_address(generator.random.u8(..NODES.len() as u8), family),
        _ => match family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, generator.random.u8(1..)).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, generator.random.u16(1..)).into(),
        },
    }
}

fn port(generator: &mut Generator, may_be_named: bool) -> Value {
    let mut port = Map::new();
    if generator.chance(70) {
        port.insert("protocol".to_owned(), generator.pick(&["TCP", "TCP", "UDP", "SCTP"]).into());
    }
    match generator.random.u8(..10) {
        0..2 => {}
        2..5 if may_be_named => drop(port.insert("port".to_owned(), generator.pick(&NAMES).into())),
        2..7 => drop(port.insert("port".to_owned(), generator.pick(&NUMBERS).into())),
        _ => {
            let (one, other) = (generator.pick(&NUMBERS), generator.pick(&NUMBERS));
            port.insert("port".to_owned(), one.min(other).into());
            port.insert("endPort".to_owned(), one.max(other).into());
        }
    }
    port.into()
}
