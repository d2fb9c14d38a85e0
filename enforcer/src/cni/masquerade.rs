//! What leaves the cluster carries the node's address: outside nobody has a route to pods.

use ipnet::IpNet;
use netpol_nft::{AddressRanges, Chain, ChainType, DataType, Hook, Policy, Rule, Ruleset, Set, Table, priority};

/// The name of the table; its family is inet.
pub const TABLE: &str = "netpol-cni";

/// The ruleset that masquerades what the node's `own` pods send to anything that is no pod of the `cluster`.
///
/// It is judged after the destination was translated, so that a Service's address counts as the pod behind it, and before the
/// source is (P12). Pods see each other's addresses always. Other nodes see the address of this one, as with kindnet: they
/// answer even while they have no route to this node's pods, and kube-proxy, which knows pods by the cluster's CIDR, would
/// take such a packet to a NodePort for one that arose on its own node. The pod's own node sees the pod: nothing that
/// stays on it comes by here.
pub fn ruleset(own: &[IpNet], cluster: &[IpNet]) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet(TABLE));
    let mut ranges = AddressRanges::new();
    cluster.iter().for_each(|cidr| ranges.insert_block(*cidr, []));
    let pods = |name, kind| Set::new(name, [kind]).interval().comment("pods of all nodes");
    ruleset.set(pods(PODS_V4, DataType::Ipv4Addr), ranges.elements_v4());
    ruleset.set(pods(PODS_V6, DataType::Ipv6Addr), ranges.elements_v6());
    let rules = own.iter().map(|cidr| match cidr {
        IpNet::V4(cidr) => Rule::new().ip_saddr(*cidr).ip_daddr_not_in(PODS_V4).masquerade(),
        IpNet::V6(cidr) => Rule::new().ip6_saddr(*cidr).ip6_daddr_not_in(PODS_V6).masquerade(),
    });
    let chain = Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, priority::SRCNAT, Policy::Accept);
    ruleset.chain(chain, rules);
    ruleset
}

const PODS_V4: &str = "pods-ipv4";
const PODS_V6: &str = "pods-ipv6";
