//! Traffic that kube-proxy has led elsewhere is judged by where it goes, whatever address it was sent to.

use std::net::Ipv4Addr;

use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::compile;
use netpol_nft::{Chain, ChainType, Connection, Hook, Policy, Protocol, Rule, Ruleset, Table, priority};

use crate::manifests::{site, world};
use crate::node::{self, Place};
use crate::probes::{connect, listen, tcp};
use crate::scratch::{Namespace, in_scratch_namespace};

const PORT: u16 = 8888;
const SERVICE_PORT: u16 = 80;
const NODE_PORT: u16 = 30080;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const EAST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// The node's address on its uplink.
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// Services: of the server's port, and of a port of the node itself, as `kubernetes` is on a control plane.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const API_SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

const PODS: &str = "
kind: Namespace
metadata: {name: default}
---
kind: Pod
metadata: {namespace: default, name: server, uid: s, labels: {app: server}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {podIP: 10.1.0.2}
---
kind: Pod
metadata: {namespace: default, name: east, uid: e, labels: {app: east}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {podIP: 10.1.0.3}
";

/// What kube-proxy's rules come to, the masquerading of a pod that reaches itself included.
fn kube_proxy() -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet("kube-proxy"));
    let tcp = |address: Ipv4Addr, port: u16| Rule::new().ip_daddr(address).l4proto(Protocol::TCP).dport(port);
    let rules = [
        tcp(SERVICE, SERVICE_PORT).dnat(SERVER, Some(PORT)),
        tcp(API_SERVER, SERVICE_PORT).dnat(NODE, Some(PORT)),
        tcp(NODE, NODE_PORT).dnat(SERVER, Some(PORT)),
    ];
    let nat = |name, hook, priority| Chain::base(name, ChainType::Nat, hook, priority, Policy::Accept);
    ruleset.chain(nat("services", Hook::Prerouting, priority::DSTNAT), rules);
    let hairpin = Rule::new().ip_saddr(SERVER).ip_daddr(SERVER).masquerade();
    ruleset.chain(nat("postrouting", Hook::Postrouting, priority::SRCNAT), [hairpin]);
    ruleset
}

struct Stand {
    node: Place,
    server: Place,
    east: Place,
    outside: Place,
    kernel: Kernel,
}

impl Stand {
    fn new() -> Self {
        let node = Place { address: NODE.into(), ..node::node() };
        let (server, east) = (node::pod("server", SERVER), node::pod("east", EAST));
        let outside = node::outside(OUTSIDE);
        Connection::open().expect("nftables").apply(&kube_proxy().load()).expect("Services");
        Self { node, server, east, outside, kernel: Kernel::open().expect("nftables") }
    }

    fn enforce(&mut self, policy: &str) {
        let mut pods = world(PODS);
        pods.policies = world(policy).policies;
        self.kernel.apply(compile(&pods, &site("node-1"))).expect("applied");
    }

    /// Who comes through: east and the server itself by the Service, the world by the node port, east to its node's own
    /// port by a Service.
    fn cells(&self) -> [bool; 4] {
        let Self { node, server, east, outside, .. } = self;
        let _listeners = (listen(server, PORT), listen(node, PORT));
        let to = |address: Ipv4Addr| Place { namespace: Namespace::current(), address: address.into() };
        [
            connect(east, &to(SERVICE), SERVICE_PORT).is_some(),
            connect(server, &to(SERVICE), SERVICE_PORT).is_some(),
            connect(outside, &to(NODE), NODE_PORT).is_some(),
            connect(east, &to(API_SERVER), SERVICE_PORT).is_some(),
        ]
    }
}

#[test]
fn are_judged_by_what_is_behind_them() {
    in_scratch_namespace("services::are_judged_by_what_is_behind_them", || {
        let mut stand = Stand::new();
        stand.enforce("{kind: Namespace, metadata: {name: default}}");
        assert_eq!(stand.cells(), [true; 4], "nobody is isolated");
        stand.enforce(
            "
kind: NetworkPolicy
metadata: {namespace: default, name: ingress}
spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: east}}}]}]}
",
        );
        assert_eq!(stand.cells(), [true, false, false, true], "the backend's policy, by the real source (P12, P13)");
        stand.enforce(
            "
kind: NetworkPolicy
metadata: {namespace: default, name: egress}
spec:
  podSelector: {matchLabels: {app: east}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: 8888}]}]
",
        );
        assert_eq!(
            stand.cells(),
            [true, true, true, false],
            "the backend's address and port (P34), the node's too (P23)"
        );
        // A pod's own address never leaves it (P15, N50); what a Service leads back to it meets its policies like any other's.
        stand.enforce(
            "
kind: NetworkPolicy
metadata: {namespace: default, name: closed}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress]}
",
        );
        assert!(tcp(&stand.server, &stand.server, PORT), "by its own address");
        assert_eq!(stand.cells(), [false, false, false, true], "by the Service");
        let node = Place { namespace: Namespace::current(), address: stand.node.address };
        let _listener = listen(&stand.server, PORT);
        stand.enforce(
            "
kind: NetworkPolicy
metadata: {namespace: default, name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
",
        );
        assert!(connect(&node, &stand.server, PORT).is_some(), "the kubelet's probes pass (P24)");
    });
}
