//! Bugs that real enforcers had, each made by telling the enforcer something else than the oracle is told. The test has to find
//! every one of them.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::generate::typed;
use crate::world::World;

macro_rules! sabotages {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Sabotage { $($(#[$doc])* $name,)* }

        impl Sabotage {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

sabotages! {
    /// N29.
    ExceptIgnored,
    /// N43: the last port of a range is left out.
    EndPortExclusive,
    /// N43: only the first port counts.
    EndPortIgnored,
    /// N26.
    NotInWantsTheKey,
    /// N26.
    DoesNotExistIgnored,
    /// N31, P21: an IPv4 block opens IPv6 as well.
    Ipv4OpensIpv6,
    /// N37: without a protocol, all of them.
    ProtocolDefaultsToAll,
    /// N38: a protocol without a port is every protocol.
    ProtocolAloneIsAny,
    /// N24: both selectors of a peer are alternatives.
    PeerSelectorsAreAlternatives,
    /// N22: a podSelector alone means pods of every namespace.
    PodSelectorOfAllNamespaces,
    /// N6, N7: egress is isolated whenever the list is there.
    EmptyEgressIsolates,
    /// N8: an egress rule alone isolates no ingress.
    EgressAloneLeavesIngress,
    /// N20: nobody, where no peer is listed.
    NoPeersIsNobody,
    /// N18, N48: a rule without ports covers TCP alone.
    NoPortsIsTcp,
    /// N12: only the first rule counts.
    FirstRuleOnly,
    /// N28, P20.
    NamespaceRelabelMissed,
    /// N28.
    PodRelabelMissed,
    /// N64.
    DeletedPolicyStays,
    /// P18.
    HostNetworkPodsAreSelected,
    /// P16.
    EndedPodsAreSelected,
    /// P17.
    TerminatingPodsAreGone,
    /// N41, P7: one name means one number, whichever pod it is.
    NamedPortOfAnyPod,
}

impl Sabotage {
    /// What the enforcer hears of a world, after it has heard of another.
    pub(crate) fn told(self, before: &World, world: &World) -> World {
        let mut world = world.clone();
        for pod in &mut world.pods {
            match self {
                Self::HostNetworkPodsAreSelected => pod.spec.iter_mut().for_each(|spec| spec.host_network = None),
                Self::EndedPodsAreSelected => {
                    pod.status.iter_mut().for_each(|status| status.phase = Some("Running".to_owned()));
                }
                Self::PodRelabelMissed => {
                    let known = before.pods.iter().find(|known| known.metadata.uid == pod.metadata.uid);
                    if let Some(known) = known {
                        pod.metadata.labels = known.metadata.labels.clone();
                    }
                }
                Self::NamedPortOfAnyPod => {
                    let containers = pod.spec.iter_mut().flat_map(|spec| &mut spec.containers);
                    for port in containers.flat_map(|container| container.ports.iter_mut().flatten()) {
                        port.container_port = if port.protocol.as_deref() == Some("UDP") { 53 } else { 80 };
                    }
                }
                _ => {}
            }
        }
        match self {
            Self::TerminatingPodsAreGone => world.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none()),
            Self::NamespaceRelabelMissed if !before.namespaces.is_empty() => {
                world.namespaces.clone_from(&before.namespaces);
            }
            Self::DeletedPolicyStays => {
                let gone = before
                    .policies
                    .iter()
                    .filter(|old| !world.policies.iter().any(|policy| policy.metadata.name == old.metadata.name));
                let gone: Vec<NetworkPolicy> = gone.cloned().collect();
                // Not from one case to the next.
                if !world.pods.is_empty() {
                    world.policies.extend(gone);
                }
            }
            _ => {}
        }
        world.policies.iter_mut().filter_map(|policy| policy.spec.as_mut()).for_each(|spec| self.bend(spec));
        world
    }

    fn bend(self, spec: &mut NetworkPolicySpec) {
        match self {
            Self::EmptyEgressIsolates
                if spec.policy_types.as_ref().is_none_or(Vec::is_empty) && spec.egress.is_some() =>
            {
                spec.policy_types = Some(vec!["Ingress".to_owned(), "Egress".to_owned()]);
            }
            Self::EgressAloneLeavesIngress
                if spec.policy_types.as_ref().is_none_or(Vec::is_empty)
                    && spec.ingress.is_none()
                    && spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()) =>
            {
                spec.policy_types = Some(vec!["Egress".to_owned()]);
            }
            Self::FirstRuleOnly => {
                spec.ingress.iter_mut().for_each(|rules| rules.truncate(1));
                spec.egress.iter_mut().for_each(|rules| rules.truncate(1));
            }
            _ => {}
        }
        spec.pod_selector.iter_mut().for_each(|selector| self.bend_selector(selector));
        for rule in spec.ingress.iter_mut().flatten() {
            self.bend_rule(&mut rule.from, &mut rule.ports);
        }
        for rule in spec.egress.iter_mut().flatten() {
            self.bend_rule(&mut rule.to, &mut rule.ports);
        }
    }

    fn bend_rule(self, peers: &mut Option<Vec<NetworkPolicyPeer>>, ports: &mut Option<Vec<NetworkPolicyPort>>) {
        let (any_peer, any_port) = (peers.as_ref().is_none_or(Vec::is_empty), ports.as_ref().is_none_or(Vec::is_empty));
        match self {
            Self::NoPeersIsNobody if any_peer => {
                *peers = Some(vec![typed(json!({ "podSelector": { "matchLabels": { "nobody": "" } } }))]);
            }
            Self::NoPortsIsTcp if any_port => *ports = Some(vec![typed(json!({ "protocol": "TCP" }))]),
            Self::ProtocolDefaultsToAll => {
                let unset: Vec<_> = ports.iter().flatten().filter(|port| port.protocol.is_none()).cloned().collect();
                let with = |name: &str| {
                    let name = name.to_owned();
                    unset.iter().cloned().map(move |port| NetworkPolicyPort { protocol: Some(name.clone()), ..port })
                };
                let more: Vec<_> = with("UDP").chain(with("SCTP")).collect();
                ports.iter_mut().for_each(|ports| ports.extend(more.iter().cloned()));
            }
            Self::ProtocolAloneIsAny if ports.iter().flatten().any(|port| port.port.is_none()) => *ports = None,
            Self::PeerSelectorsAreAlternatives => {
                let both = |peer: &NetworkPolicyPeer| peer.pod_selector.is_some() && peer.namespace_selector.is_some();
                let halves: Vec<_> = peers.iter().flatten().filter(|peer| both(peer)).cloned().collect();
                peers.iter_mut().flatten().filter(|peer| both(peer)).for_each(|peer| peer.pod_selector = None);
                let halves = halves.into_iter().map(|half| NetworkPolicyPeer { namespace_selector: None, ..half });
                peers.iter_mut().for_each(|peers| peers.extend(halves.clone()));
            }
            Self::Ipv4OpensIpv6 => {
                let v4 =
                    |peer: &NetworkPolicyPeer| peer.ip_block.as_ref().is_some_and(|block| !block.cidr.contains(':'));
                if peers.iter().flatten().any(v4) {
                    peers.iter_mut().for_each(|peers| peers.push(typed(json!({ "ipBlock": { "cidr": "::/0" } }))));
                }
            }
            _ => {}
        }
        for peer in peers.iter_mut().flatten() {
            peer.pod_selector.iter_mut().chain(&mut peer.namespace_selector).for_each(|it| self.bend_selector(it));
            match self {
                Self::ExceptIgnored => peer.ip_block.iter_mut().for_each(|block| block.except = None),
                Self::PodSelectorOfAllNamespaces if peer.pod_selector.is_some() => {
                    peer.namespace_selector.get_or_insert_default();
                }
                _ => {}
            }
        }
        for port in ports.iter_mut().flatten() {
            match (self, &port.port, port.end_port) {
                (Self::EndPortExclusive, Some(number), Some(end)) if *number != IntOrString::Int(end) => {
                    port.end_port = Some(end - 1)
                }
                (Self::EndPortIgnored, ..) => port.end_port = None,
                _ => {}
            }
        }
    }

    fn bend_selector(self, selector: &mut LabelSelector) {
        let expressions = selector.match_expressions.iter_mut();
        match self {
            Self::NotInWantsTheKey => expressions.for_each(|all| {
                let keys: Vec<String> =
                    all.iter().filter(|it| it.operator == "NotIn").map(|it| it.key.clone()).collect();
                all.extend(keys.into_iter().map(|key| typed(json!({ "key": key, "operator": "Exists" }))));
            }),
            Self::DoesNotExistIgnored => expressions.for_each(|all| all.retain(|it| it.operator != "DoesNotExist")),
            _ => {}
        }
    }
}
