//! The cluster's Nodes, and what follows from them for the network of one of them. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as ApiNode;

use super::problems::Problem;

/// Nodes by name.
pub type Nodes = BTreeMap<String, Node>;

/// A node, reduced to what its network needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where its pods get their addresses from: one CIDR per family, the cluster's first family first.
    pub pod_cidrs: Vec<IpNet>,
    /// Its addresses of type InternalIP.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    /// Reads a node. What does not parse is left out.
    pub fn read(object: &ApiNode) -> Self {
        let spec = object.spec.as_ref();
        let listed = spec.into_iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
        let mut pod_cidrs: Vec<IpNet> = Vec::new();
        for cidr in listed.chain(spec.and_then(|spec| spec.pod_cidr.as_ref())).filter_map(|text| text.parse().ok()) {
            let cidr = IpNet::trunc(&cidr);
            if !pod_cidrs.contains(&cidr) {
                pod_cidrs.push(cidr);
            }
        }
        let addresses = object
            .status
            .iter()
            .flat_map(|status| status.addresses.iter().flatten())
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect();
        Self { name: object.metadata.name.clone().unwrap_or_default(), pod_cidrs, addresses }
    }
}

/// What one node's network is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The node's own pod CIDRs, in the order of its `spec.podCIDRs`.
    pub own: Vec<IpNet>,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The pod CIDRs of all nodes.
    pub cluster: Vec<IpNet>,
    /// To the pods of the other nodes, each by an address of its node.
    pub routes: BTreeMap<IpNet, IpAddr>,
}

impl Network {
    /// The network of the node `name`, and what is wrong with the Nodes.
    pub fn of(name: &str, nodes: &Nodes) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let own = nodes.get(name);
        match own {
            None => problems.push(Problem::NoNode { node: name.to_owned() }),
            Some(node) if node.pod_cidrs.is_empty() => problems.push(Problem::NoPodCidrs { node: name.to_owned() }),
            Some(_) => {}
        }
        let mut network = Self {
            own: own.map(|node| node.pod_cidrs.clone()).unwrap_or_default(),
            addresses: own.map(|node| node.addresses.clone()).unwrap_or_default(),
            ..Self::default()
        };
        for node in nodes.values() {
            for cidr in &node.pod_cidrs {
                let other = node.name != name;
                if other && network.overlaps(cidr) {
                    problems.push(Problem::Overlap { node: node.name.clone(), cidr: *cidr });
                    continue;
                }
                network.cluster.push(*cidr);
                let family = |address: &&IpAddr| address.is_ipv4() == cidr.addr().is_ipv4();
                match node.addresses.iter().find(family) {
                    Some(address) if other => drop(network.routes.insert(*cidr, *address)),
                    None if other => problems.push(Problem::NoAddress { node: node.name.clone(), cidr: *cidr }),
                    _ => {}
                }
            }
        }
        network.cluster.sort_unstable();
        (network, problems)
    }

    /// Whether some of the addresses are those of pods elsewhere.
    fn overlaps(&self, cidr: &IpNet) -> bool {
        self.own.iter().chain(&self.cluster).any(|known| known.contains(cidr) || cidr.contains(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, pod_cidrs: &[&str], addresses: &[&str]) -> (String, Node) {
        let pod_cidrs = pod_cidrs.iter().map(|cidr| cidr.parse().expect("a CIDR")).collect();
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        (name.to_owned(), Node { name: name.to_owned(), pod_cidrs, addresses })
    }

    #[test]
    fn both_families_are_routed_by_addresses_of_their_own() {
        let nodes = Nodes::from([
            node("a", &["10.244.0.0/24", "fd00:1::/64"], &["172.18.0.2", "fc00::2"]),
            node("b", &["10.244.1.0/24", "fd00:2::/64"], &["fc00::3", "172.18.0.3"]),
        ]);
        let (network, problems) = Network::of("a", &nodes);
        assert_eq!(problems, []);
        let routes: Vec<String> = network.routes.iter().map(|(to, via)| format!("{to} via {via}")).collect();
        assert_eq!(routes, ["10.244.1.0/24 via 172.18.0.3", "fd00:2::/64 via fc00::3"]);
        assert_eq!(network.own, nodes["a"].pod_cidrs);
        assert_eq!(network.cluster.len(), 4);
    }

    #[test]
    fn what_is_missing_is_told_and_the_rest_is_routed() {
        let nodes = Nodes::from([
            node("a", &[], &["172.18.0.2"]),
            node("b", &["10.244.1.0/24", "fd00:2::/64"], &["172.18.0.3"]),
            node("c", &["10.244.1.128/25"], &["172.18.0.4"]),
        ]);
        let (network, problems) = Network::of("a", &nodes);
        assert_eq!(network.routes.len(), 1);
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("node a has no spec.podCIDRs"), "{text:?}");
        assert!(text[1].contains("node b has no InternalIP of the family of its pod CIDR fd00:2::/64"), "{text:?}");
        assert!(text[2].contains("10.244.1.128/25 of node c"), "{text:?}");
        assert_eq!(text.len(), 3);
        assert_eq!(Network::of("z", &nodes).1.len(), 3, "and a node that is not there");
    }

    #[test]
    fn an_object_is_reduced() {
        let object = serde_json::json!({
            "metadata": { "name": "a" },
            "spec": { "podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"] },
            "status": { "addresses": [
                { "type": "InternalIP", "address": "172.18.0.2" }, { "type": "Hostname", "address": "a" },
                { "type": "ExternalIP", "address": "1.2.3.4" }, { "type": "InternalIP", "address": "fc00::2" },
            ] },
        });
        let read = Node::read(&serde_json::from_value(object).expect("a node"));
        assert_eq!((read.name.clone(), read), node("a", &["10.244.0.0/24", "fd00::/64"], &["172.18.0.2", "fc00::2"]));
    }
}
