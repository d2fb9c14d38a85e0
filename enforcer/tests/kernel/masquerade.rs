//! Whose address packets of pods carry, in both families: real datagrams from a pod through its node.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::cni::masquerade::ruleset;
use netpol_nft::{Chain, ChainType, Connection, Hook, Policy, Rule, Ruleset, Table, priority};

use crate::node::{address_on, route, up, veth, within};
use crate::scratch::{Namespace, in_scratch_namespace};

/// The addresses of one family.
struct Family {
    /// Of the node, towards its pods and towards the others.
    gateway: IpAddr,
    node: IpAddr,
    pod: IpAddr,
    /// Of a pod on another node, and of that node, which stands for everything that is no pod.
    pod_elsewhere: IpAddr,
    outside: IpAddr,
    /// Addresses of Services, with one of these two behind each.
    service_of_pod: IpAddr,
    service_of_outside: IpAddr,
    lengths: Lengths,
}

struct Lengths {
    link: u8,
    host: u8,
    pods: u8,
}

fn families() -> [Family; 2] {
    let ip = |text: &str| text.parse().expect("an address");
    [
        Family {
            gateway: ip("10.1.0.1"),
            node: ip("192.168.0.1"),
            pod: ip("10.1.0.2"),
            pod_elsewhere: ip("10.2.0.2"),
            outside: ip("192.168.0.2"),
            service_of_pod: ip("10.96.0.1"),
            service_of_outside: ip("10.96.0.2"),
            lengths: Lengths { link: 24, host: 32, pods: 16 },
        },
        Family {
            gateway: ip("fd00:1::1"),
            node: ip("fc00::1"),
            pod: ip("fd00:1::2"),
            pod_elsewhere: ip("fd00:2::2"),
            outside: ip("fc00::2"),
            service_of_pod: ip("fd00:96::1"),
            service_of_outside: ip("fd00:96::2"),
            lengths: Lengths { link: 64, host: 128, pods: 64 },
        },
    ]
}

/// Addresses can be used at once, without a second of looking whether somebody else has them.
fn without_duplicate_detection() {
    fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("a setting");
}

/// The node that the test's namespace becomes, with a pod, and the namespace beyond its `eth0`.
fn wire(families: &[Family]) -> (Namespace, Namespace) {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forwarding");
    without_duplicate_detection();
    let (pod, outside) = (Namespace::new(), Namespace::new());
    pod.run(without_duplicate_detection);
    outside.run(without_duplicate_detection);
    within(async |links| {
        up(&links, "lo").await;
        veth(&links, "pod", &pod).await;
        veth(&links, "eth0", &outside).await;
        let (to_pod, eth0) = (up(&links, "pod").await, up(&links, "eth0").await);
        for family in families {
            let Lengths { link, host, .. } = family.lengths;
            address_on(&links, to_pod, family.gateway, host).await;
            address_on(&links, eth0, family.node, link).await;
        }
    });
    pod.run(|| {
        within(async |links| {
            let eth0 = up(&links, "eth0").await;
            for family in families {
                let Lengths { host, .. } = family.lengths;
                address_on(&links, eth0, family.pod, host).await;
                route(&links, eth0, family.gateway, host, None).await;
                let everywhere = if family.pod.is_ipv4() { "0.0.0.0" } else { "::" };
                let everywhere: IpAddr = everywhere.parse().expect("an address");
                route(&links, eth0, everywhere, 0, Some(family.gateway)).await;
            }
        });
    });
    outside.run(|| {
        within(async |links| {
            let (lo, eth0) = (up(&links, "lo").await, up(&links, "eth0").await);
            for family in families {
                let Lengths { link, host, pods } = family.lengths;
                address_on(&links, eth0, family.outside, link).await;
                address_on(&links, lo, family.pod_elsewhere, host).await;
                let network = IpNet::new(family.pod, pods).expect("a network").network();
                route(&links, eth0, network, pods, Some(family.node)).await;
            }
        });
    });
    within(async |links| {
        let (to_pod, eth0) = (up(&links, "pod").await, up(&links, "eth0").await);
        for family in families {
            let Lengths { host, pods, .. } = family.lengths;
            route(&links, to_pod, family.pod, host, None).await;
            let network = IpNet::new(family.pod_elsewhere, pods).expect("a network").network();
            route(&links, eth0, network, pods, Some(family.outside)).await;
        }
    });
    (pod, outside)
}

/// The source that a datagram to `to` has where it arrives.
fn seen(from: &Namespace, at: &Namespace, to: IpAddr) -> Option<IpAddr> {
    const PORT: u16 = 7777;
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let server = at.run(|| UdpSocket::bind((any, PORT)).expect("a socket"));
    server.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let client = from.run(|| UdpSocket::bind((any, 0)).expect("a socket"));
    client.send_to(b"?", (to, PORT)).expect("sent");
    server.recv_from(&mut [0]).ok().map(|(_, source)| source.ip())
}

/// What kube-proxy does for a Service: another destination, before anything is judged.
fn services(families: &[Family]) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet("services"));
    let chain = Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, priority::DSTNAT, Policy::Accept);
    let rules = families.iter().flat_map(|family| {
        let to = |service: IpAddr, behind: IpAddr| match service {
            IpAddr::V4(service) => Rule::new().ip_daddr(service).dnat(behind, None),
            IpAddr::V6(service) => Rule::new().ip6_daddr(service).dnat(behind, None),
        };
        [to(family.service_of_pod, family.pod_elsewhere), to(family.service_of_outside, family.outside)]
    });
    ruleset.chain(chain, rules);
    ruleset
}

#[test]
fn what_leaves_the_cluster_carries_the_nodes_address() {
    in_scratch_namespace("masquerade::what_leaves_the_cluster_carries_the_nodes_address", || {
        let families = families();
        let (pod, outside) = wire(&families);
        let node = Namespace::current();
        Connection::open().expect("nftables").apply(&services(&families).load()).expect("services");
        for family in &families {
            assert_eq!(seen(&pod, &outside, family.outside), Some(family.pod), "without masquerading");
        }
        let own: Vec<IpNet> = vec!["10.1.0.0/24".parse().expect("a CIDR"), "fd00:1::/64".parse().expect("a CIDR")];
        let others = ["10.2.0.0/24", "fd00:2::/64"].map(|cidr| cidr.parse().expect("a CIDR"));
        let cluster: Vec<IpNet> = own.iter().copied().chain(others).collect();
        let mut kernel = Kernel::open().expect("nftables");
        kernel.apply(ruleset(&own, &cluster)).expect("applied");
        for family in &families {
            assert_eq!(seen(&pod, &outside, family.outside), Some(family.node), "no pod sees the node");
            assert_eq!(seen(&pod, &outside, family.pod_elsewhere), Some(family.pod), "a pod sees the pod");
            assert_eq!(seen(&pod, &outside, family.service_of_pod), Some(family.pod), "behind a Service as well (P12)");
            assert_eq!(seen(&pod, &outside, family.service_of_outside), Some(family.node), "what is behind it counts");
            assert_eq!(seen(&pod, &node, family.node), Some(family.pod), "the pod's own node sees the pod");
            assert_eq!(seen(&node, &outside, family.outside), Some(family.node), "the node is itself");
            assert_eq!(seen(&outside, &pod, family.pod), Some(family.outside), "who comes in is left alone");
        }
        // The other node is gone, and its CIDR with it.
        kernel.apply(ruleset(&own, &own)).expect("applied");
        for family in &families {
            assert_eq!(seen(&pod, &outside, family.pod_elsewhere), Some(family.node));
        }
    });
}
