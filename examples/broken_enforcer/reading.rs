//! Bends policies before the enforcer reads them: what a parser with a bug would make of them.

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use netpol_enforcer::PolicyReader;
use netpol_enforcer::world::{Policy, RawPolicy};

/// Reads policies that were bent before.
pub(crate) fn reader(bend: fn(&mut NetworkPolicySpec)) -> PolicyReader {
    Box::new(move |policy| Policy::read_raw(&bent(policy, bend)))
}

fn bent(policy: &RawPolicy, bend: fn(&mut NetworkPolicySpec)) -> RawPolicy {
    let mut policy = policy.clone();
    let spec = serde_json::from_value(policy.spec.clone()).ok().and_then(|mut spec| {
        bend(&mut spec);
        serde_json::to_value(spec).ok()
    });
    // What cannot be read is left to the real enforcer.
    policy.spec = spec.unwrap_or(policy.spec);
    policy
}

/// A rule's peers and ports, of either direction.
pub(crate) type Lists<'a> = (&'a mut Option<Vec<NetworkPolicyPeer>>, &'a mut Option<Vec<NetworkPolicyPort>>);

/// Every rule of both directions.
pub(crate) fn rules(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = Lists<'_>> {
    let ingress = spec.ingress.iter_mut().flatten().map(|rule| (&mut rule.from, &mut rule.ports));
    let egress = spec.egress.iter_mut().flatten().map(|rule| (&mut rule.to, &mut rule.ports));
    ingress.chain(egress)
}

/// Every peer that is listed.
pub(crate) fn peers(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut NetworkPolicyPeer> {
    rules(spec).flat_map(|(peers, _)| peers.iter_mut().flatten())
}

/// Every port that is listed.
pub(crate) fn ports(spec: &mut NetworkPolicySpec) -> impl Iterator<Item = &mut NetworkPolicyPort> {
    rules(spec).flat_map(|(_, ports)| ports.iter_mut().flatten())
}

/// Bends every selector: whom the policy selects, and its peers.
pub(crate) fn each_selector(spec: &mut NetworkPolicySpec, bend: impl Fn(&mut LabelSelector)) {
    spec.pod_selector.iter_mut().for_each(&bend);
    for peer in peers(spec) {
        peer.pod_selector.iter_mut().chain(&mut peer.namespace_selector).for_each(&bend);
    }
}

/// A selector that matches nothing.
pub(crate) fn nobody() -> LabelSelector {
    LabelSelector { match_labels: Some([("nobody".to_owned(), "nobody".to_owned())].into()), match_expressions: None }
}

/// Whether a list lists nothing.
pub(crate) fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}
