//! From the API's objects to [`Policy`]: defaults (N6, N37) and validation (V1–V17).

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};

use crate::invalid::{Cause, Complaints, InvalidPolicy};
use crate::ipblock::IpBlock;
use crate::policy::{Peer, Policy, PolicyName, Rule};
use crate::port::Port;
use crate::selector::{Selector, is_dns_subdomain};

/// Checks a policy and fills in its defaults.
///
/// # Errors
/// Everything in it that the API server would refuse.
pub(crate) fn compile(policy: &NetworkPolicy) -> Result<Policy, Vec<InvalidPolicy>> {
    let name = PolicyName {
        namespace: policy.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name: policy.metadata.name.clone().unwrap_or_default(),
    };
    let mut complaints = Complaints::about(name.clone());
    if !is_dns_subdomain(&name.name) {
        let what = format!("'{}' is not a DNS subdomain", name.name);
        complaints.add(17, Cause::FieldValueInvalid, "metadata.name", what);
    }
    // An absent spec is an empty one: all pods of the namespace, isolated for ingress.
    let spec = policy.spec.clone().unwrap_or_default();
    let subjects = spec.pod_selector.as_ref();
    let subjects =
        subjects.map(|selector| Selector::compile(selector, "spec.podSelector", &mut complaints)).unwrap_or_default();

    let mut ingress = Vec::new();
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        let field = format!("spec.ingress[{index}]");
        ingress.push(compile_rule(&field, "from", rule.from.as_deref(), rule.ports.as_deref(), &mut complaints));
    }
    let mut egress = Vec::new();
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        let field = format!("spec.egress[{index}]");
        egress.push(compile_rule(&field, "to", rule.to.as_deref(), rule.ports.as_deref(), &mut complaints));
    }
    let (isolates_ingress, isolates_egress) = directions(&spec, &mut complaints);

    if !complaints.found.is_empty() {
        return Err(complaints.found);
    }
    Ok(Policy {
        name,
        subjects,
        ingress: isolates_ingress.then_some(ingress),
        egress: isolates_egress.then_some(egress),
    })
}

/// Whether the policy isolates for ingress and for egress: as policyTypes lists them; without it always ingress, and egress only
/// where there is an egress rule (N6–N8).
fn directions(spec: &NetworkPolicySpec, complaints: &mut Complaints) -> (bool, bool) {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.len() > 2 {
        let what = format!("{} entries: at most two are allowed", types.len());
        complaints.add(15, Cause::FieldValueInvalid, "spec.policyTypes", what);
    }
    for (index, name) in types.iter().enumerate() {
        if name != "Ingress" && name != "Egress" {
            let what = format!("'{name}' is not a policy type: Ingress and Egress are");
            complaints.add(14, Cause::FieldValueNotSupported, &format!("spec.policyTypes[{index}]"), what);
        }
    }
    if types.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()));
    }
    (types.iter().any(|name| name == "Ingress"), types.iter().any(|name| name == "Egress"))
}

fn compile_rule(
    field: &str,
    key: &str,
    peers: Option<&[NetworkPolicyPeer]>,
    ports: Option<&[NetworkPolicyPort]>,
    complaints: &mut Complaints,
) -> Rule {
    let mut rule = Rule { peers: Vec::new(), ports: Vec::new() };
    for (index, port) in ports.into_iter().flatten().enumerate() {
        rule.ports.extend(Port::compile(port, &format!("{field}.ports[{index}]"), complaints));
    }
    for (index, peer) in peers.into_iter().flatten().enumerate() {
        rule.peers.extend(compile_peer(peer, &format!("{field}.{key}[{index}]"), complaints));
    }
    rule
}

fn compile_peer(peer: &NetworkPolicyPeer, field: &str, complaints: &mut Complaints) -> Option<Peer> {
    let mut select = |selector: &Option<_>, key: &str| {
        selector.as_ref().map(|selector| Selector::compile(selector, &format!("{field}.{key}"), complaints))
    };
    let pods = select(&peer.pod_selector, "podSelector");
    let namespaces = select(&peer.namespace_selector, "namespaceSelector");
    let by_labels = pods.is_some() || namespaces.is_some();
    match &peer.ip_block {
        Some(_) if by_labels => {
            let what = "ipBlock does not go with a selector in one peer".to_owned();
            complaints.add(9, Cause::FieldValueForbidden, field, what);
            None
        }
        Some(block) => IpBlock::compile(block, &format!("{field}.ipBlock"), complaints).map(Peer::Block),
        None if by_labels => Some(Peer::Pods { namespaces, pods }),
        None => {
            complaints.add(
                8,
                Cause::FieldValueRequired,
                field,
                "a peer must say podSelector, namespaceSelector or ipBlock".to_owned(),
            );
            None
        }
    }
}
