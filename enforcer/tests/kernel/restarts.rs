//! Killed and started again under load: the rules stay, and nothing opens or is cut (P27, P3).

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use netpol_enforcer::compile::TABLE;
use netpol_nft::{Connection, Table};
use serde_json::json;

use crate::cluster::{Cluster, from_app};
use crate::health::eventually;
use crate::node::{self, Place};
use crate::probes::{connect, datagrams, tcp};
use crate::scratch::in_scratch_namespace;

const KILLS: usize = 12;
const PORT: u16 = 8888;

#[test]
fn a_killed_enforcer_leaves_the_rules_and_finds_them_again() {
    in_scratch_namespace("restarts::a_killed_enforcer_leaves_the_rules_and_finds_them_again", || {
        let cluster = Cluster::new();
        let mut enforcer = cluster.ready_enforcer();
        let traffic = cluster.traffic();
        for kill in 0..KILLS {
            for turn in 0..20 {
                cluster.churn(kill * 20 + turn);
                traffic.more(3);
            }
            enforcer.kill();
            traffic.more(20);
            // Nobody hears of these before the next start.
            cluster.churn(kill * 20);
            enforcer = match kill % 3 {
                // Killed before it is ready as well.
                0 => {
                    let early = cluster.enforcer();
                    traffic.more(30 * (1 + kill as u64));
                    early.kill();
                    cluster.ready_enforcer()
                }
                _ => cluster.ready_enforcer(),
            };
        }
        traffic.stop();
        // What changed while it was away is in force.
        let before = Connection::open().and_then(|mut kernel| kernel.ruleset(&Table::inet(TABLE))).expect("read");
        enforcer.kill();
        assert_eq!(
            before,
            Connection::open().and_then(|mut kernel| kernel.ruleset(&Table::inet(TABLE))).expect("read")
        );
        assert!(tcp(&cluster.friend, &cluster.server, PORT));
        cluster.delete_policy("friend");
        cluster.set_policy("closed", json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
        for policy in ["beside", "block"] {
            if cluster.store.get(netpol_lab::api::resources::NETWORK_POLICY, "default", policy).is_ok() {
                cluster.delete_policy(policy);
            }
        }
        let _enforcer = cluster.ready_enforcer();
        assert!(!tcp(&cluster.friend, &cluster.server, PORT));
    });
}

/// As the kubelet stops it, for an upgrade or for good.
#[test]
fn a_stopped_enforcer_leaves_the_rules_and_the_next_one_takes_over() {
    in_scratch_namespace("restarts::a_stopped_enforcer_leaves_the_rules_and_the_next_one_takes_over", || {
        let cluster = Cluster::new();
        let mut enforcer = cluster.ready_enforcer();
        let traffic = cluster.traffic();
        let rules = || Connection::open().and_then(|mut kernel| kernel.ruleset(&Table::inet(TABLE))).expect("read");
        for turn in 0..6 {
            cluster.churn(turn);
            cluster.settles("a change");
            let before = rules();
            assert!(enforcer.terminate(), "it ends well");
            assert_eq!(before, rules(), "and leaves everything as it is");
            traffic.more(50);
            enforcer = cluster.ready_enforcer();
            cluster.settles("the next start");
            assert_eq!(cluster.status()["repairs"], 0);
        }
        traffic.stop();
    });
}

/// A pod's network begins before anybody knows the pod: while others come and go, it reaches and is reached by nobody until the
/// policies that isolate it are in force, and then still not by those that they leave out (P3, P29, P41).
#[test]
fn the_first_packet_of_a_pod_is_judged_already() {
    in_scratch_namespace("restarts::the_first_packet_of_a_pod_is_judged_already", || {
        let cluster = Cluster::new();
        let _enforcer = cluster.ready_enforcer();
        for number in 0..100 {
            cluster.set_policy(&format!("of-{number}"), from_app(&format!("app-{number}"), "friend"));
        }
        let egress = json!({ "podSelector": { "matchLabels": { "app": "new" } }, "policyTypes": ["Egress"] });
        cluster.set_policy("no-egress", egress);
        cluster.set_policy("of-new", from_app("new", "friend"));
        // The server hears everybody: what a new pod sends would arrive.
        cluster
            .set_policy("everybody", json!({ "podSelector": { "matchLabels": { "app": "server" } }, "ingress": [{}] }));
        eventually("open", || tcp(&cluster.enemy, &cluster.server, PORT));
        let heard = datagrams(&cluster.server, 9000);
        for number in 0..15_u8 {
            let name = format!("new-{number}");
            let address = Ipv4Addr::new(10, 1, 1, number + 1);
            let pod = node::pod(&name, address);
            let known = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let (pod, known, cluster) = (&pod, &known, &cluster);
                scope.spawn(move || send_until(pod, &cluster.server, known));
                scope.spawn(move || send_until(&cluster.enemy, pod, known));
                let at_pod = datagrams(pod, 9000);
                for turn in 0..10 {
                    cluster.churn(turn);
                }
                cluster.add_pod(&name, "new", "node-1", address);
                eventually("its friend reaches it", || connect_to(&cluster.friend, pod));
                known.store(true, Ordering::Relaxed);
                assert!(at_pod.recv_from(&mut [0]).is_err(), "{name} heard its enemy");
            });
            cluster.delete_pod(&name);
        }
        let from = heard.recv_from(&mut [0]);
        assert!(from.is_err(), "a new pod was heard: {from:?}");
    });
}

fn connect_to(from: &Place, to: &Place) -> bool {
    let _listener = crate::probes::listen(to, PORT);
    connect(from, to, PORT).is_some()
}

/// A datagram from a new port every few hundred microseconds.
fn send_until(from: &Place, to: &Place, end: &AtomicBool) {
    from.namespace.run(|| {
        while !end.load(Ordering::Relaxed) {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            // There may be no way yet.
            let _ = socket.send_to(b"?", (to.address, 9000));
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    });
}
