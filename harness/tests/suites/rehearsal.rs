//! A case rehearsed with real names and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netpol_harness::plan::{Action, Bindings, BoundPod, Cell, PodRef, Rehearsal, Selection, Traffic, Transport, plan};
use netpol_harness::suite::{Source, load};
use netpol_harness::topology::{bind_pod, waves};
use serde_json::json;

fn pod(name: &str) -> PodRef {
    PodRef { namespace: "network-policy".to_owned(), name: name.to_owned() }
}

fn bindings(east: &str) -> Bindings {
    let bound = |ip: &str, node: &str| BoundPod {
        ips: vec![ip.parse::<IpAddr>().unwrap()],
        node: node.to_owned(),
        node_ips: vec!["172.18.0.2".parse().unwrap()],
    };
    Bindings {
        namespaces: BTreeMap::from([("network-policy".to_owned(), "network-policy-r1-w2".to_owned())]),
        pods: BTreeMap::from([
            (pod("server"), bound("10.1.0.2", "worker")),
            (pod("client-us-east"), bound(east, "worker2")),
            (pod("client-us-west"), bound("10.1.0.3", "worker")),
        ]),
        ..Bindings::default()
    }
}

#[test]
fn actions_come_out_with_real_names_and_addresses_and_reasons_with_logical_ones() {
    let plan = plan(&load(&Source::Embedded).unwrap(), &Selection::parse(&["walkthrough/replies".to_owned()]).unwrap());
    let (case, bindings) = (&plan.cases[0], bindings("10.1.1.2"));
    let mut rehearsal = Rehearsal::new(case, &plan.topologies["walkthrough"], &bindings).unwrap();
    let control = rehearsal.control();
    assert_eq!(control.len(), 9);
    assert!(control.values().all(|expected| expected.allowed));

    let actions = rehearsal.perform(0, &bindings).unwrap();
    assert_eq!(
        actions,
        [Action::Apply(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "block-us-east-egress", "namespace": "network-policy-r1-w2"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.1.1.2/32"]}}]}],
            },
        }))]
    );
    let matrix = rehearsal.expect(0).unwrap();
    let denied: Vec<_> = matrix.iter().filter(|(_, expected)| !expected.allowed).collect();
    assert_eq!(denied.len(), 1);
    let (cell, expected) = denied[0];
    let tcp = Traffic::primary(Transport::Tcp(8888));
    assert_eq!(*cell, Cell { from: pod("server"), to: pod("client-us-east").into(), traffic: tcp });
    assert_eq!(
        expected.reason,
        "denied: pod network-policy/server is isolated for egress by network-policy/block-us-east-egress (egress[0].to[0] excepts the peer)"
    );
    // Self cells are measured and not scored.
    assert_eq!(matrix.iter().filter(|(_, expected)| !expected.scored).count(), 3);
}

#[test]
fn after_a_client_has_another_address_an_address_policy_no_longer_fits_it() {
    let plan = plan(&load(&Source::Embedded).unwrap(), &Selection::parse(&["walkthrough/replies".to_owned()]).unwrap());
    let before = bindings("10.1.1.2");
    let mut rehearsal = Rehearsal::new(&plan.cases[0], &plan.topologies["walkthrough"], &before).unwrap();
    rehearsal.perform(0, &before).unwrap();
    rehearsal.rebind(&bindings("10.1.1.9"));
    let disagreements = rehearsal.expect(0).unwrap_err();
    assert_eq!(disagreements.len(), 1);
    assert_eq!(disagreements[0].cell.to, pod("client-us-east").into());
    assert!(disagreements[0].computed.allowed && !disagreements[0].declared);
}

#[test]
fn clients_are_created_after_the_server_whose_address_they_are_given() {
    let loaded = load(&Source::Embedded).unwrap();
    let topology = &loaded.topologies["walkthrough"];
    assert_eq!(waves(topology), [vec![pod("server")], vec![pod("client-us-east"), pod("client-us-west")]]);
    let mut known = bindings("10.1.1.2");
    known.pods.retain(|name, _| name.name == "server");
    let bound = bind_pod(topology, &pod("client-us-east"), &known).unwrap();
    assert_eq!(bound.metadata.namespace.as_deref(), Some("network-policy-r1-w2"));
    let args = bound.spec.unwrap().containers[0].args.clone().unwrap();
    assert!(args.contains(&"http://10.1.0.2:8888/".to_owned()), "{args:?}");
    known.pods.clear();
    let problems = bind_pod(topology, &pod("client-us-east"), &known).unwrap_err();
    assert!(problems[0].what.contains("pod network-policy/server has no address yet"), "{problems:?}");
}
