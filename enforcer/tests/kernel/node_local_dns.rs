//! A DNS cache on the node, as NodeLocal DNSCache is: its address is the node's, and its packets are not tracked (P43).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::{Incremental, Site, compile};
use netpol_nft::{Chain, ChainType, Connection, Hook, Policy, Rule, Ruleset, Table, priority};

use crate::manifests::{comparable, site, world};
use crate::node::{self, Family, Place};
use crate::probes::{tcp, udp};
use crate::scratch::{Namespace, in_scratch_namespace};

const WORLD: &str = "
kind: Namespace
metadata: {name: default}
---
kind: Pod
metadata: {namespace: default, name: client, uid: c}
spec: {nodeName: node-1, containers: []}
status: {podIP: 10.1.0.2}
---
kind: Pod
metadata: {namespace: default, name: dns, uid: d, labels: {k8s-app: kube-dns}}
spec: {nodeName: node-2, containers: []}
status: {podIP: 10.2.0.2}
---
kind: NetworkPolicy
metadata: {namespace: default, name: dns-alone}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]
";

fn cache(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(169, 254, 20, 10).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x90, 0, 0, 0, 0, 0, 0xa).into(),
    }
}

/// What the cache does beside answering: its address on the node, and its packets off connection tracking.
fn begin(address: IpAddr) -> Place {
    node::within(async |links| {
        let found = links.link().get().match_name("lo".to_owned()).execute().try_next().await.expect("a link");
        let index = found.expect("lo").header.index;
        node::address_on(&links, index, address, if address.is_ipv4() { 32 } else { 128 }).await;
    });
    let mut ruleset = Ruleset::new(Table::inet("node-local-dns"));
    for (name, hook) in [("in", Hook::Prerouting), ("out", Hook::Output)] {
        let rules = match address {
            IpAddr::V4(address) => [Rule::new().ip_daddr(address), Rule::new().ip_saddr(address)],
            IpAddr::V6(address) => [Rule::new().ip6_daddr(address), Rule::new().ip6_saddr(address)],
        };
        let chain = Chain::base(name, ChainType::Filter, hook, priority::RAW, Policy::Accept);
        ruleset.chain(chain, rules.map(Rule::notrack));
    }
    Connection::open().expect("nftables").apply(&ruleset.load()).expect("the cache's rules");
    Place { namespace: Namespace::current(), address }
}

fn pods_ask_it_whatever_their_egress_policies_say(family: Family) {
    let _node = node::node();
    let client = node::pod("client", family.address(Ipv4Addr::new(10, 1, 0, 2)));
    let dns = node::outside(family.address(Ipv4Addr::new(10, 2, 0, 2)));
    let cache = begin(cache(family));
    let world = world(&family.text(WORLD));
    let mut kernel = Kernel::open().expect("nftables");
    kernel.apply(compile(&world, &site("node-1"))).expect("applied");
    assert!(udp(&client, &dns, 53) && tcp(&client, &dns, 53), "the DNS pods themselves");
    assert!(!udp(&client, &cache, 53) && !tcp(&client, &cache, 53), "no selector means the cache");

    let exempt = Site { node_local_dns: [cache.address].into(), ..site("node-1") };
    let compiled = Incremental::new(world.clone(), exempt.clone());
    assert_eq!(comparable(&compiled.ruleset()), comparable(&compile(&world, &exempt)));
    kernel.apply(compiled.ruleset()).expect("applied");
    assert!(udp(&client, &cache, 53) && tcp(&client, &cache, 53));
    assert!(!udp(&client, &cache, 54) && !tcp(&client, &cache, 80), "DNS alone");
    let elsewhere = Place { namespace: Namespace::current(), address: family.address(node::GATEWAY) };
    assert!(!udp(&client, &elsewhere, 53), "that address alone");
    let unknown = node::pod("unknown", family.address(Ipv4Addr::new(10, 1, 0, 9)));
    assert!(!udp(&unknown, &cache, 53), "pods that are programmed alone");
}

#[test]
fn pods_ask_it_whatever_their_egress_policies_say_v4() {
    in_scratch_namespace("node_local_dns::pods_ask_it_whatever_their_egress_policies_say_v4", || {
        pods_ask_it_whatever_their_egress_policies_say(Family::V4);
    });
}

#[test]
fn pods_ask_it_whatever_their_egress_policies_say_v6() {
    in_scratch_namespace("node_local_dns::pods_ask_it_whatever_their_egress_policies_say_v6", || {
        pods_ask_it_whatever_their_egress_policies_say(Family::V6);
    });
}
