//! Reads the rules of a policy. Whatever is invalid or not supported is named by its path, and refuses the policy (P31).

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Selector;
use super::policies::{IpBlock, NamedPort, Peer, Port, PortRange, Protocol, Rule};

/// Reads ingress rules. Those of a direction that the policy does not isolate have no effect (N9), so that nothing in
/// them is refused either.
pub(super) fn read_ingress(rules: &[NetworkPolicyIngressRule], isolates: bool, refused: &mut Vec<String>) -> Vec<Rule> {
    let rules = rules.iter().map(|rule| ("from", rule.from.as_deref(), rule.ports.as_deref()));
    if isolates { read("spec.ingress", rules, refused) } else { Vec::new() }
}

/// Reads egress rules, as [`read_ingress`] does.
pub(super) fn read_egress(rules: &[NetworkPolicyEgressRule], isolates: bool, refused: &mut Vec<String>) -> Vec<Rule> {
    let rules = rules.iter().map(|rule| ("to", rule.to.as_deref(), rule.ports.as_deref()));
    if isolates { read("spec.egress", rules, refused) } else { Vec::new() }
}

type ApiRule<'a> = (&'static str, Option<&'a [NetworkPolicyPeer]>, Option<&'a [NetworkPolicyPort]>);

fn read<'a>(path: &str, rules: impl Iterator<Item = ApiRule<'a>>, refused: &mut Vec<String>) -> Vec<Rule> {
    let mut read = Vec::new();
    for (index, (side, peers, ports)) in rules.enumerate() {
        // An empty list says the same as an absent one: any peer (N20), any port (N21, P37).
        let peers = peers.filter(|peers| !peers.is_empty()).map(|peers| {
            collect(peers.iter().map(read_peer), |item| format!("{path}[{index}].{side}[{item}]"), refused)
        });
        let ports = ports.filter(|ports| !ports.is_empty()).map(|ports| {
            collect(ports.iter().map(read_port), |item| format!("{path}[{index}].ports[{item}]"), refused)
        });
        read.push(Rule { peers, ports });
    }
    read
}

fn collect<T>(
    items: impl Iterator<Item = Result<T, String>>,
    path: impl Fn(usize) -> String,
    refused: &mut Vec<String>,
) -> Vec<T> {
    let mut read = Vec::new();
    for (index, item) in items.enumerate() {
        match item {
            Ok(item) => read.push(item),
            Err(reason) => refused.push(format!("{}{reason}", path(index))),
        }
    }
    read
}

fn read_peer(peer: &NetworkPolicyPeer) -> Result<Peer, String> {
    let selector = |field: &str, selector: Option<&_>| {
        selector.map(Selector::read).transpose().map_err(|error| format!(".{field}: {error}"))
    };
    let namespaces = selector("namespaceSelector", peer.namespace_selector.as_ref())?;
    let pods = selector("podSelector", peer.pod_selector.as_ref())?;
    match (&peer.ip_block, namespaces, pods) {
        (Some(block), None, None) => read_block(block).map(Peer::Block),
        (Some(_), _, _) => Err(".ipBlock: cannot stand beside a selector".to_owned()),
        (None, None, None) => {
            Err(": names no peer; give it a podSelector, a namespaceSelector or an ipBlock".to_owned())
        }
        (None, namespaces, pods) => Ok(Peer::Pods { namespaces, pods: pods.unwrap_or_default() }),
    }
}

fn read_block(block: &IPBlock) -> Result<IpBlock, String> {
    let cidr = read_cidr(&block.cidr).map_err(|reason| format!(".ipBlock.cidr: {reason}"))?;
    let mut except = Vec::new();
    for (index, text) in block.except.iter().flatten().enumerate() {
        let hole = read_cidr(text).map_err(|reason| format!(".ipBlock.except[{index}]: {reason}"))?;
        if !cidr.contains(&hole) {
            return Err(format!(".ipBlock.except[{index}]: {hole} is not within {cidr}"));
        }
        except.push(hole);
    }
    Ok(IpBlock { cidr, except })
}

/// Parses a CIDR and clears its host bits (P11).
fn read_cidr(text: &str) -> Result<IpNet, String> {
    let cidr: IpNet = text.parse().map_err(|_| format!("{text:?} is not a CIDR"))?;
    match cidr {
        // Parsers disagree on what such a one means: as IPv6 it matches nothing that a pod sends.
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err(format!("{text:?} is an IPv4-mapped IPv6 CIDR")),
        cidr => Ok(cidr.trunc()),
    }
}

fn read_port(port: &NetworkPolicyPort) -> Result<Port, String> {
    let protocol = Protocol::read(port.protocol.as_deref()).ok_or_else(|| {
        let name = port.protocol.as_deref().unwrap_or_default();
        format!(".protocol: unknown protocol {name:?}; use TCP, UDP or SCTP")
    })?;
    let number = |field: &str, value: i32| match u16::try_from(value) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!(".{field}: {value} is not between 1 and 65535")),
    };
    let range = |first, last| Port::Range(PortRange { protocol, first, last });
    match (&port.port, port.end_port) {
        (None, None) => Ok(range(0, u16::MAX)), // N38
        (None, Some(_)) => Err(".endPort: needs a port".to_owned()),
        (Some(IntOrString::String(name)), Some(_)) => Err(format!(".endPort: cannot follow the named port {name:?}")),
        (Some(IntOrString::String(name)), None) if !is_port_name(name) => {
            Err(format!(".port: {name:?} is not the name of a port"))
        }
        (Some(IntOrString::String(name)), None) => Ok(Port::Named(NamedPort { name: name.clone(), protocol })),
        (Some(IntOrString::Int(first)), None) => {
            let first = number("port", *first)?;
            Ok(range(first, first))
        }
        (Some(IntOrString::Int(first)), Some(last)) => {
            let (first, last) = (number("port", *first)?, number("endPort", last)?);
            if last < first {
                return Err(format!(".endPort: {last} is below port {first}"));
            }
            Ok(range(first, last)) // N43
        }
    }
}

/// Whether a container may name a port so: up to 15 lower-case letters, digits and single inner hyphens, with a letter (V3).
fn is_port_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=15).contains(&name.len())
        && name.bytes().all(legal)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !(name.starts_with('-') || name.ends_with('-') || name.contains("--"))
}
