//! Through every rewrite of the rules the verdicts stay right (P25).

use std::net::Ipv4Addr;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::{Incremental, TABLE};
use netpol_enforcer::diff;
use netpol_enforcer::world::{Change, Delta, Policy, RawPolicy};
use netpol_nft::{Connection, Table, Transaction};
use serde_json::{Value, json};

use crate::manifests::{site, world};
use crate::node::{self, Family, GATEWAY};
use crate::probes::tcp;
use crate::scratch::in_scratch_namespace;
use crate::traffic::Traffic;

const REWRITES: usize = 1000;

const PODS: &str = "
kind: Namespace
metadata: {name: default, labels: {team: one}}
---
kind: Pod
metadata: {namespace: default, name: server, uid: s, labels: {app: server}}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}]}
---
kind: Pod
metadata: {namespace: default, name: friend, uid: f, labels: {app: friend}}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.1.0.3}]}
---
kind: Pod
metadata: {namespace: default, name: enemy, uid: e, labels: {app: enemy}}
spec: {nodeName: node-2, containers: []}
status: {phase: Running, podIPs: [{ip: 10.2.0.2}]}
";

fn set(name: &str, spec: Value) -> Change {
    let object = json!({ "metadata": { "namespace": "default", "name": name, "uid": name }, "spec": spec });
    Change::Policies(Delta::Set(Policy::read(&serde_json::from_value::<NetworkPolicy>(object).expect("a policy"))))
}

/// Ways to say that the server hears its friend and nobody else.
fn ways(family: Family) -> Vec<Value> {
    let server = json!({ "matchLabels": { "app": "server" } });
    let friend = match family.address(Ipv4Addr::new(10, 1, 0, 3)) {
        std::net::IpAddr::V4(friend) => format!("{friend}/32"),
        std::net::IpAddr::V6(friend) => format!("{friend}/128"),
    };
    let around = match family {
        Family::V4 => json!({ "cidr": "10.0.0.0/8", "except": ["10.2.0.0/16"] }),
        Family::V6 => json!({ "cidr": "fd00::/16", "except": ["fd00::a02:0/112"] }),
    };
    let not_the_enemy = json!([{ "key": "app", "operator": "NotIn", "values": ["enemy"] }]);
    let ports = json!([{ "port": 7000 }, { "port": 6000, "endPort": 7100, "protocol": "UDP" }]);
    let rules = [
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "friend" } } }] }]),
        json!([{ "from": [{ "ipBlock": { "cidr": friend } }], "ports": ports }]),
        json!([{ "from": [{ "ipBlock": around }] }]),
        json!([{ "from": [{ "namespaceSelector": {}, "podSelector": { "matchExpressions": not_the_enemy } }] }]),
    ];
    rules.map(|rules| json!({ "podSelector": server, "ingress": rules })).into()
}

/// What comes and goes beside it, and allows the enemy nothing.
fn beside(turn: usize) -> Value {
    let rules = match turn % 3 {
        0 => json!([]),
        1 => json!([{ "from": [{ "podSelector": {} }], "ports": [{ "port": 1 + turn % 5000 }] }]),
        _ => json!([{ "from": [{ "ipBlock": { "cidr": format!("172.16.{}.0/24", turn % 250) } }] }]),
    };
    json!({ "podSelector": {}, "ingress": rules })
}

fn no_rewrite_opens_or_cuts(family: Family) {
    let address = |node: u8, host: u8| family.address(Ipv4Addr::new(10, node, 0, host));
    let _node = node::Place { address: family.address(GATEWAY), ..node::node() };
    let (server, friend) = (node::pod("server", address(1, 2)), node::pod("friend", address(1, 3)));
    let enemy = node::outside(address(2, 2));
    let ways = ways(family);
    let mut compiled = Incremental::new(world(&family.text(PODS)), site("node-1"));
    let mut kernel = Kernel::open().expect("nftables");
    compiled.update([set("way-0", ways[0].clone())]);
    kernel.follow(&compiled, &diff::Delta::default()).expect("written");
    let traffic = Traffic::start(&server, &friend, &enemy);
    let mut written = 0;
    for turn in 0.. {
        let gone = |name: String| {
            let of_that_name = set(&name, json!({ "podSelector": {} }));
            let Change::Policies(Delta::Set(policy)) = of_that_name else { unreachable!() };
            Change::Policies(Delta::Gone(policy))
        };
        // One way more, then one less; or another rule in the same policy; and something beside it.
        let changes = match turn % 4 {
            0 => vec![set("way-1", ways[turn / 4 % ways.len()].clone())],
            1 => vec![set("way-0", ways[turn / 8 % ways.len()].clone()), gone(format!("beside-{}", turn % 7))],
            2 => vec![gone("way-1".to_owned()), set(&format!("beside-{}", turn % 7), beside(turn))],
            _ => vec![set("way-0", ways[(turn / 4 + 1) % ways.len()].clone())],
        };
        let update = compiled.update(changes);
        if !update.delta.is_empty() {
            let applied = kernel.follow(&compiled, &update.delta).expect("written");
            assert!(!applied.replaced && !applied.repaired, "by differences");
            written += 1;
            // Packets meet every one of the rulesets.
            traffic.more(1);
        }
        if written == REWRITES {
            break;
        }
    }
    traffic.stop();
}

#[test]
fn no_rewrite_opens_or_cuts_v4() {
    in_scratch_namespace("rewrites::no_rewrite_opens_or_cuts_v4", || no_rewrite_opens_or_cuts(Family::V4));
}

#[test]
fn no_rewrite_opens_or_cuts_v6() {
    in_scratch_namespace("rewrites::no_rewrite_opens_or_cuts_v6", || no_rewrite_opens_or_cuts(Family::V6));
}

/// A commit fills sets of ranges last, and the longer it takes the later: a rule that comes with one may not meet it empty.
#[test]
fn no_rule_meets_a_set_of_ranges_that_is_not_filled_yet() {
    in_scratch_namespace("rewrites::no_rule_meets_a_set_of_ranges_that_is_not_filled_yet", || {
        let _node = node::node();
        let address = |node: u8, host: u8| Ipv4Addr::new(10, node, 0, host);
        let (server, friend) = (node::pod("server", address(1, 2)), node::pod("friend", address(1, 3)));
        let enemy = node::outside(address(2, 2));
        let mut compiled = Incremental::new(world(PODS), site("node-1"));
        let mut kernel = Kernel::open().expect("nftables");
        let way = |turn: usize| {
            let from = json!([{ "podSelector": { "matchLabels": { "app": "friend" } } }]);
            let ports = json!([
                { "port": 6000 + turn, "endPort": 7100, "protocol": "UDP" }, { "port": 6000 + turn, "endPort": 7100 },
            ]);
            // Elements that have to be taken in before the ranges are there.
            let holes: Vec<String> =
                (0..4000).map(|hole| format!("172.16.{}.{}/32", hole / 100, hole % 100 * 2)).collect();
            let far = json!([{ "ipBlock": { "cidr": format!("172.16.0.0/{}", 12 - turn % 2), "except": holes } }]);
            json!({
                "podSelector": { "matchLabels": { "app": "server" } },
                "ingress": [{ "from": from, "ports": ports }, { "from": far }],
            })
        };
        compiled.update([set("way", way(0))]);
        kernel.follow(&compiled, &diff::Delta::default()).expect("written");
        let traffic = Traffic::start(&server, &friend, &enemy);
        for turn in 1..100 {
            let update = compiled.update([set("way", way(turn))]);
            kernel.follow(&compiled, &update.delta).expect("written");
            traffic.more(3);
        }
        traffic.stop();
    });
}

/// Whatever becomes of a chain that pods are dispatched to, what comes back from it is dropped.
#[test]
fn a_chain_that_has_lost_its_rules_closes() {
    in_scratch_namespace("rewrites::a_chain_that_has_lost_its_rules_closes", || {
        let _node = node::node();
        let address = |node: u8, host: u8| Ipv4Addr::new(10, node, 0, host);
        let (server, friend) = (node::pod("server", address(1, 2)), node::pod("friend", address(1, 3)));
        let mut compiled = Incremental::new(world(PODS), site("node-1"));
        compiled.update([set("way-0", ways(Family::V4)[0].clone())]);
        let mut kernel = Kernel::open().expect("nftables");
        kernel.follow(&compiled, &diff::Delta::default()).expect("written");
        assert!(tcp(&friend, &server, 8888));
        let mut flush = Transaction::new(Table::inet(TABLE));
        let ruleset = compiled.ruleset();
        let isolating = || ruleset.chains.keys().filter(|name| name.starts_with("isolated/"));
        assert_eq!(isolating().count(), 1);
        isolating().for_each(|name| flush.flush_chain(name));
        Connection::open().expect("nftables").apply(&flush).expect("flushed");
        assert!(!tcp(&friend, &server, 8888));
        assert!(tcp(&server, &friend, 8888), "nobody isolates this one");
    });
}

/// What cannot be read closes the pods that it selects, and nothing else stops (P31).
#[test]
fn garbage_beside_good_policies_closes_its_own_pods_only() {
    in_scratch_namespace("rewrites::garbage_beside_good_policies_closes_its_own_pods_only", || {
        let _node = node::node();
        let address = |node: u8, host: u8| Ipv4Addr::new(10, node, 0, host);
        let (server, friend) = (node::pod("server", address(1, 2)), node::pod("friend", address(1, 3)));
        let enemy = node::outside(address(2, 2));
        let mut compiled = Incremental::new(world(PODS), site("node-1"));
        let mut kernel = Kernel::open().expect("nftables");
        compiled.update([set("way-0", ways(Family::V4)[0].clone())]);
        kernel.follow(&compiled, &diff::Delta::default()).expect("written");
        let traffic = Traffic::start(&server, &friend, &enemy);
        let of_friend = json!({ "matchLabels": { "app": "friend" } });
        let garbage = [
            json!({ "podSelector": of_friend, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/40" } }] }] }),
            json!({ "podSelector": of_friend, "ingress": [{ "ports": [{ "port": 8.5 }] }] }),
            json!({ "podSelector": of_friend, "policyTypes": ["Ingress"], "ingress": "all" }),
            json!({ "podSelector": of_friend, "ingress": [{ "hours": "9-17" }] }),
            json!({ "podSelector": { "matchLabels": { "app": "server" } }, "ingress": [{ "from": [{ "team": "x" }] }] }),
        ];
        assert!(tcp(&server, &friend, 8888), "nothing closes the friend yet");
        for (turn, spec) in garbage.into_iter().enumerate() {
            let raw = json!({ "metadata": { "namespace": "default", "name": "garbage" }, "spec": spec });
            let policy = Policy::read_raw(&serde_json::from_value::<RawPolicy>(raw).expect("any object"));
            assert!(!policy.refused.is_empty(), "turn {turn} is refused");
            let of_friend = policy.subject.matches(&[("app".to_owned(), "friend".to_owned())].into());
            // Beside the server alone: whether the friend is closed is the garbage's doing.
            let mut beside = beside(turn);
            beside["podSelector"] = json!({ "matchLabels": { "app": "server" } });
            let update = compiled.update([Change::Policies(Delta::Set(policy)), set("beside", beside)]);
            kernel.follow(&compiled, &update.delta).expect("written");
            traffic.more(20);
            assert_eq!(tcp(&server, &friend, 8888), !of_friend, "its pods are closed");
        }
        traffic.stop();
    });
}
