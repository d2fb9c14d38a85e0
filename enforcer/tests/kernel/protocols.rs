//! What belongs to a connection without being its packets, and packets in pieces.

use std::fs;
use std::io::ErrorKind;

use netpol_nft::Protocol;
use netpol_nft::conntrack::{Conntrack, Filter};

use crate::health::eventually;
use crate::node::{Family, Place};
use crate::packets::Stand;
use crate::probes::{datagrams, ping, tcp};
use crate::scratch::in_scratch_namespace;
use crate::segments::{FIN, SYN, segment_arrives};

const ONE_PORT: &str = "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: one-port}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: 53, protocol: UDP}]}]
  egress: [{ports: [{port: 9, protocol: UDP}]}]
";

/// Whether a datagram of this many bytes arrives whole, and one as long comes back.
fn long(from: &Place, to: &Place, port: u16, bytes: usize) -> bool {
    let (client, server) = (datagrams(from, 0), datagrams(to, port));
    client.send_to(&vec![b'?'; bytes], (to.address, port)).expect("sent");
    let mut buffer = vec![0; bytes + 1];
    let Ok((arrived, back)) = server.recv_from(&mut buffer) else { return false };
    assert_eq!(arrived, bytes);
    server.send_to(&buffer[..arrived], back).expect("answered");
    assert_eq!(client.recv_from(&mut buffer).expect("its answer comes back").0, bytes);
    true
}

/// Only the first piece has ports: they are judged together (P35).
fn fragments_are_judged_whole(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(ONE_PORT);
    for peer in [&stand.east, &stand.west] {
        assert!(long(peer, &stand.server, 53, 4000), "three packets on a link of 1500 bytes");
        assert!(!long(peer, &stand.server, 54, 4000));
        assert!(long(peer, &stand.server, 53, 4000), "again");
    }
}

/// What says that nobody listens comes back to who asked, although the direction is closed; by itself nothing may (P4).
fn related_errors_pass(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(ONE_PORT);
    for peer in [&stand.east, &stand.west] {
        let socket = datagrams(&stand.server, 0);
        socket.connect((peer.address, 9)).expect("a destination");
        socket.send(b"?").expect("sent");
        let error = socket.recv(&mut [0]).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(!ping(peer, &stand.server) && !ping(&stand.server, peer) && !tcp(&stand.server, peer, 9));
    }
}

const DENY_INGRESS: &str = "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: deny}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
";

/// The answer to a datagram comes back into a closed pod as long as the kernel knows of it, and no longer (P32).
fn datagrams_are_answered_for_a_while(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(DENY_INGRESS);
    for timeout in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
        fs::write(format!("/proc/sys/net/netfilter/{timeout}"), "1").expect("a setting of the namespace");
    }
    for peer in [&stand.east, &stand.west] {
        let (inside, outside) = (datagrams(&stand.server, 0), datagrams(peer, 53));
        inside.send_to(b"?", (peer.address, 53)).expect("sent");
        let (_, back) = outside.recv_from(&mut [0]).expect("egress is open");
        outside.send_to(b"!", back).expect("answered");
        assert!(inside.recv_from(&mut [0]).is_ok(), "the answer");
        let mut conntrack = Conntrack::open().expect("ctnetlink");
        let known = Filter { protocol: Some(Protocol::UDP), ..Filter::address(peer.address) };
        eventually("the kernel forgets", || conntrack.list(&known).expect("listed").is_empty());
        outside.send_to(b"!", back).expect("sent");
        assert!(inside.recv_from(&mut [0]).is_err(), "nobody has asked");
    }
}

/// What belongs to no connection does not enter an isolated pod, even from whom its policies let in; pods that nobody isolates, and
/// the node's own packets, are not looked at (P35).
fn what_belongs_to_no_connection_stays_out_of_isolated_pods(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: from-everybody}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress], ingress: [{}]}
",
    );
    let Stand { node, server, east, west, .. } = &stand;
    for peer in [east, west] {
        assert!(tcp(peer, server, 80), "it is let in");
        assert!(!segment_arrives(peer, server, SYN | FIN), "no segment of any connection");
    }
    assert!(segment_arrives(node, server, SYN | FIN), "what the node sends is not looked at");
    assert!(segment_arrives(server, east, SYN | FIN), "nobody isolates that one");
}

#[test]
fn datagrams_are_answered_for_a_while_v4() {
    in_scratch_namespace("protocols::datagrams_are_answered_for_a_while_v4", || {
        datagrams_are_answered_for_a_while(Family::V4);
    });
}

#[test]
fn datagrams_are_answered_for_a_while_v6() {
    in_scratch_namespace("protocols::datagrams_are_answered_for_a_while_v6", || {
        datagrams_are_answered_for_a_while(Family::V6);
    });
}

#[test]
fn what_belongs_to_no_connection_stays_out_of_isolated_pods_v4() {
    in_scratch_namespace("protocols::what_belongs_to_no_connection_stays_out_of_isolated_pods_v4", || {
        what_belongs_to_no_connection_stays_out_of_isolated_pods(Family::V4);
    });
}

#[test]
fn what_belongs_to_no_connection_stays_out_of_isolated_pods_v6() {
    in_scratch_namespace("protocols::what_belongs_to_no_connection_stays_out_of_isolated_pods_v6", || {
        what_belongs_to_no_connection_stays_out_of_isolated_pods(Family::V6);
    });
}

#[test]
fn fragments_are_judged_whole_v4() {
    in_scratch_namespace("protocols::fragments_are_judged_whole_v4", || fragments_are_judged_whole(Family::V4));
}

#[test]
fn fragments_are_judged_whole_v6() {
    in_scratch_namespace("protocols::fragments_are_judged_whole_v6", || fragments_are_judged_whole(Family::V6));
}

#[test]
fn related_errors_pass_v4() {
    in_scratch_namespace("protocols::related_errors_pass_v4", || related_errors_pass(Family::V4));
}

#[test]
fn related_errors_pass_v6() {
    in_scratch_namespace("protocols::related_errors_pass_v6", || related_errors_pass(Family::V6));
}
