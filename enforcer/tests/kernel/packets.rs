//! Compiled rulesets against real packets: a node, two of its pods, and the world behind its uplink.

use std::net::Ipv4Addr;

use crate::manifests::{site, without, world};
use crate::node::{self, Family, GATEWAY, Place};
use crate::probes::{alive, connect, datagrams, forged, listen, ping, tcp, udp};
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::{OwnNode, Site, compile, skeleton};
use netpol_enforcer::world::World;

const PORT: u16 = 8888;
const NAMESPACE: &str = "network-policy";
const WALKTHROUGH: &str = include_str!("worlds/walkthrough.yaml");

/// Each of these on IPv4 and, the same, on IPv6.
macro_rules! in_both_families {
    ($($test:ident)+) => {
        mod v4 {
            $(#[test]
            fn $test() {
                crate::scratch::in_scratch_namespace(concat!("packets::v4::", stringify!($test)), || super::$test(super::Family::V4));
            })+
        }
        mod v6 {
            $(#[test]
            fn $test() {
                crate::scratch::in_scratch_namespace(concat!("packets::v6::", stringify!($test)), || super::$test(super::Family::V6));
            })+
        }
    };
}

in_both_families! {
    walkthrough
    established_connections_survive
    a_closed_skeleton_closes_pods_and_nobody_else
    an_address_that_nobody_has_programmed_is_closed
    forged_sources_are_dropped
    accepted_egress_does_not_skip_the_ingress_of_a_pod_on_the_same_node
    ports_ranges_and_protocols
    rules_without_ports_cover_every_protocol_of_their_peers
    except_limits_its_own_block_only
    a_refused_policy_closes_its_own_pods_only
    own_node_is_policed_unless_it_is_left_open
}

/// The walkthrough's pods: the server and us-east on this node, us-west on another.
pub(crate) struct Stand {
    family: Family,
    pub(crate) node: Place,
    pub(crate) server: Place,
    pub(crate) east: Place,
    pub(crate) west: Place,
    kernel: Kernel,
}

impl Stand {
    pub(crate) fn new(family: Family) -> Self {
        let address = |node: u8, host: u8| family.address(Ipv4Addr::new(10, node, 0, host));
        Self {
            family,
            node: Place { address: family.address(GATEWAY), ..node::node() },
            server: node::pod("server", address(1, 2)),
            east: node::pod("east", address(1, 3)),
            west: node::outside(address(2, 2)),
            kernel: Kernel::open().expect("nftables"),
        }
    }

    fn enforce(&mut self, world: &World) {
        self.kernel.apply(compile(world, &site("node-1"))).expect("the kernel takes the ruleset");
    }

    /// The walkthrough's pods, with these policies instead of its own.
    pub(crate) fn enforce_policies(&mut self, yaml: &str) {
        let mut pods =
            without(world(&self.family.text(WALKTHROUGH)), NAMESPACE, &["allow-us-east", "block-us-east-egress"]);
        pods.policies = world(&self.family.text(yaml)).policies;
        self.enforce(&pods);
    }

    /// Who reaches whom: E→S, W→S and S→E by TCP, then S→E, S→W, E→S and W→S by ping.
    fn cells(&self) -> [bool; 7] {
        let Self { server, east, west, .. } = self;
        [
            tcp(east, server, PORT),
            tcp(west, server, PORT),
            tcp(server, east, PORT),
            ping(server, east),
            ping(server, west),
            ping(east, server),
            ping(west, server),
        ]
    }
}

fn walkthrough(family: Family) {
    let mut stand = Stand::new(family);
    let both = world(&family.text(WALKTHROUGH));
    let first = without(both.clone(), NAMESPACE, &["block-us-east-egress"]);
    let second = without(both.clone(), NAMESPACE, &["allow-us-east"]);
    let none = without(first.clone(), NAMESPACE, &["allow-us-east"]);
    stand.enforce(&none);
    assert_eq!(stand.cells(), [true; 7], "stage 0: nobody is isolated");
    stand.enforce(&first);
    assert_eq!(stand.cells(), [true, false, true, true, true, false, false], "stage 1: allow-us-east");
    stand.enforce(&both);
    assert_eq!(stand.cells(), [true, false, true, true, true, false, false], "stage 2: they add up");
    stand.enforce(&second);
    assert_eq!(stand.cells(), [true, true, false, false, true, true, true], "stage 3: only the except is left");
    stand.enforce(&none);
    assert_eq!(stand.cells(), [true; 7], "stage 4: open again");
}

fn established_connections_survive(family: Family) {
    let mut stand = Stand::new(family);
    let both = world(&family.text(WALKTHROUGH));
    stand.enforce(&without(both.clone(), NAMESPACE, &["allow-us-east", "block-us-east-egress"]));
    let listener = listen(&stand.server, PORT);
    let mut client = connect(&stand.west, &stand.server, PORT).expect("an open server");
    let (mut accepted, _) = listener.accept().expect("a connection");
    assert!(alive(&mut client, &mut accepted));
    stand.enforce(&both);
    assert!(connect(&stand.west, &stand.server, PORT).is_none(), "a new one is refused");
    assert!(alive(&mut client, &mut accepted), "the old one goes on (N63)");
    // A restarted enforcer replaces all of the table.
    stand.kernel = Kernel::open().expect("nftables");
    stand.enforce(&both);
    assert!(alive(&mut client, &mut accepted), "after a restart as well");
}

fn a_closed_skeleton_closes_pods_and_nobody_else(family: Family) {
    let mut stand = Stand::new(family);
    assert!(stand.kernel.apply(skeleton(&site("node-1"))).expect("applied").replaced);
    let Stand { node, server, east, west, .. } = &stand;
    assert!(!tcp(server, east, PORT), "pod to pod");
    assert!(!tcp(server, west, PORT), "pod to the world");
    assert!(!tcp(west, server, PORT), "the world to a pod");
    assert!(!tcp(server, node, PORT), "pod to its node");
    assert!(!ping(server, node), "pod pings its node");
    assert!(tcp(node, server, PORT), "a node reaches its pods, as the kubelet must (N53)");
    let node_outside = Place {
        namespace: crate::scratch::Namespace::current(),
        address: family.address(Ipv4Addr::new(192, 168, 0, 1)),
    };
    assert!(tcp(west, &node_outside, PORT), "the world reaches the node");
}

fn an_address_that_nobody_has_programmed_is_closed(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce(&without(world(&family.text(WALKTHROUGH)), NAMESPACE, &["allow-us-east", "block-us-east-egress"]));
    let new = node::pod("new", family.address(Ipv4Addr::new(10, 1, 0, 9)));
    assert!(!tcp(&new, &stand.east, PORT) && !tcp(&stand.east, &new, PORT));
    assert!(!tcp(&new, &stand.node, PORT) && !tcp(&stand.west, &new, PORT));
    assert!(tcp(&stand.node, &new, PORT));
}

fn forged_sources_are_dropped(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce(&without(world(&family.text(WALKTHROUGH)), NAMESPACE, &["allow-us-east", "block-us-east-egress"]));
    let Stand { server, east, west, node, .. } = &stand;
    assert!(forged(server, server.address, west, PORT), "its own address is not forged");
    assert!(!forged(server, east.address, west, PORT), "another pod's");
    assert!(!forged(server, family.address(Ipv4Addr::new(8, 8, 8, 8)), west, PORT), "the world's");
    assert!(!forged(server, east.address, node, PORT), "another pod's, to the node");
}

fn accepted_egress_does_not_skip_the_ingress_of_a_pod_on_the_same_node(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: closed}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
---
kind: NetworkPolicy
metadata: {namespace: network-policy, name: open}
spec: {podSelector: {matchLabels: {region: us-east}}, policyTypes: [Egress], egress: [{}]}
",
    );
    let Stand { node, server, east, west, .. } = &stand;
    assert!(!tcp(east, server, PORT) && !udp(east, server, PORT) && !ping(east, server), "P40");
    assert!(tcp(east, west, PORT) && udp(east, west, PORT) && tcp(east, node, PORT));
    // Replies pass although ingress is closed (N15), and so do ICMP errors that belong to a connection (P4).
    assert!(tcp(server, east, PORT) && udp(server, east, PORT) && ping(server, east));
    let socket = datagrams(server, 0);
    socket.connect((east.address, 9)).expect("a destination");
    socket.send(b"?").expect("sent");
    let error = socket.recv(&mut [0]).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

fn ports_ranges_and_protocols(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: ports}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
    - ports: [{port: 80}, {port: 90, endPort: 92}, {port: 91, endPort: 93}, {port: 53, protocol: UDP}]
    - from: [{podSelector: {matchLabels: {region: us-west}}}]
      ports: [{protocol: UDP}]
",
    );
    let Stand { server, east, west, .. } = &stand;
    for (port, open) in [(79, false), (80, true), (81, false), (89, false), (90, true), (93, true), (94, false)] {
        assert_eq!(tcp(east, server, port), open, "TCP {port}");
    }
    assert!(tcp(west, server, 80) && !tcp(west, server, 94));
    assert!(udp(east, server, 53) && !udp(east, server, 80) && !tcp(east, server, 53));
    assert!(udp(west, server, 1) && udp(west, server, 65535), "a protocol alone means every port of it (N38)");
    assert!(!ping(east, server) && !ping(west, server), "a rule with ports covers no ICMP (N48, P5)");
}

fn rules_without_ports_cover_every_protocol_of_their_peers(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: from-west}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {region: us-west}}}]}]
",
    );
    let Stand { server, east, west, .. } = &stand;
    assert!(ping(west, server) && tcp(west, server, PORT) && udp(west, server, PORT));
    assert!(!ping(east, server) && !tcp(east, server, PORT) && !udp(east, server, PORT));
}

fn except_limits_its_own_block_only(family: Family) {
    let mut stand = Stand::new(family);
    let policy = |more: &str| {
        format!(
            "
kind: NetworkPolicy
metadata: {{namespace: network-policy, name: block}}
spec:
  podSelector: {{matchLabels: {{app: server}}}}
  ingress:
    - from:
        - ipBlock: {{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.0.3/32, 10.2.0.0/31]}}
        {more}
"
        )
    };
    stand.enforce_policies(&policy(""));
    assert!(!tcp(&stand.east, &stand.server, PORT) && tcp(&stand.west, &stand.server, PORT));
    stand.enforce_policies(&policy("- podSelector: {matchLabels: {region: us-east}}"));
    assert!(tcp(&stand.east, &stand.server, PORT), "another peer allows what the except leaves out (N30, P9)");
}

fn a_refused_policy_closes_its_own_pods_only(family: Family) {
    let mut stand = Stand::new(family);
    stand.enforce_policies(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: garbage}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 0}]}]
",
    );
    let Stand { server, east, west, .. } = &stand;
    assert!(!tcp(east, server, PORT) && !tcp(west, server, PORT));
    assert!(tcp(server, east, PORT) && tcp(west, east, PORT), "egress, and other pods, are not concerned");
}

fn own_node_is_policed_unless_it_is_left_open(family: Family) {
    let mut stand = Stand::new(family);
    let mut closed = without(world(&family.text(WALKTHROUGH)), NAMESPACE, &["allow-us-east", "block-us-east-egress"]);
    closed.policies = world(
        "
kind: NetworkPolicy
metadata: {namespace: network-policy, name: no-egress}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Egress]}
",
    )
    .policies;
    stand.enforce(&closed);
    assert!(!tcp(&stand.server, &stand.node, PORT) && tcp(&stand.east, &stand.node, PORT));
    assert!(tcp(&stand.node, &stand.server, PORT), "what the node begins passes (N53)");

    let open = Site { own_node: OwnNode::Open, ..site("node-1") };
    stand.kernel.apply(compile(&closed, &open)).expect("applied");
    assert!(tcp(&stand.server, &stand.node, PORT) && !tcp(&stand.server, &stand.west, PORT));
}
