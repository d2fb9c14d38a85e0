//! What belongs to a connection without being its packets, and packets in pieces.

use std::io::ErrorKind;

use crate::node::{Family, Place};
use crate::packets::Stand;
use crate::probes::{datagrams, ping, tcp};
use crate::scratch::in_scratch_namespace;

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
