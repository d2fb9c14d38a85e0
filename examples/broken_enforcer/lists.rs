//! Bugs in policyTypes, rules and their lists.

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};

use crate::mutant::{Bug, Mutant};
use crate::reading::{is_empty, nobody, ports, rules};

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "types-by-lists",
        "N3 N17 P37",
        "A policy isolates the directions that it has rules for, whatever its policyTypes say",
        Bug::Reading(types_by_lists),
    ),
    Mutant::new(
        "egress-always",
        "N2 N3 N7",
        "Every policy isolates egress as well, also with policyTypes [Ingress]",
        Bug::Reading(|spec| spec.policy_types.iter_mut().for_each(|types| types.push("Egress".to_owned()))),
    ),
    Mutant::new(
        "unlisted-rules-count",
        "N9",
        "Rules of a direction that policyTypes does not list isolate and allow",
        Bug::Reading(unlisted_rules_count),
    ),
    Mutant::new(
        "empty-rule-allows-nothing",
        "N18 P37",
        "The rule {} is taken for no rule",
        Bug::Reading(empty_rule_allows_nothing),
    ),
    Mutant::new(
        "first-rule-only",
        "N12 N19",
        "Only the first rule of a direction counts",
        Bug::Reading(first_rule_only),
    ),
    Mutant::new(
        "first-peer-only",
        "N19",
        "Only the first peer of a rule counts",
        Bug::Reading(|spec| rules(spec).for_each(|(peers, _)| peers.iter_mut().for_each(|peers| peers.truncate(1)))),
    ),
    Mutant::new(
        "peer-or-port",
        "N19",
        "The peers and the ports of a rule are alternatives",
        Bug::Reading(peer_or_port),
    ),
    Mutant::new(
        "absent-peers-are-nobody",
        "N20 P37",
        "A rule without peers allows nobody",
        Bug::Reading(|spec| {
            rules(spec).filter(|(peers, _)| is_empty(peers)).for_each(|(peers, _)| {
                *peers = Some(vec![NetworkPolicyPeer { pod_selector: Some(nobody()), ..NetworkPolicyPeer::default() }]);
            });
        }),
    ),
    Mutant::new(
        "absent-peers-are-pods",
        "N20",
        "A rule without peers allows pods, but nothing outside the cluster",
        Bug::Reading(|spec| {
            rules(spec).filter(|(peers, _)| is_empty(peers)).for_each(|(peers, _)| {
                let every = NetworkPolicyPeer { namespace_selector: Some(Default::default()), ..Default::default() };
                *peers = Some(vec![every]);
            });
        }),
    ),
    Mutant::new(
        "absent-ports-are-tcp",
        "N21 N48 P5",
        "A rule without ports covers TCP alone",
        Bug::Reading(|spec| {
            rules(spec).filter(|(_, ports)| is_empty(ports)).for_each(|(_, ports)| {
                *ports = Some(vec![NetworkPolicyPort { protocol: Some("TCP".to_owned()), ..Default::default() }]);
            });
        }),
    ),
    Mutant::new(
        "sctp-policy-is-skipped",
        "N47 P31 P33",
        "A policy that names SCTP is passed over: it isolates nobody",
        Bug::Reading(|spec| {
            if ports(spec).any(|port| port.protocol.as_deref() == Some("SCTP")) {
                spec.pod_selector = Some(nobody());
            }
        }),
    ),
];

fn types_by_lists(spec: &mut NetworkPolicySpec) {
    let types = [("Ingress", !is_empty(&spec.ingress)), ("Egress", !is_empty(&spec.egress))];
    let named: Vec<String> = types.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()).collect();
    if named.is_empty() {
        spec.pod_selector = Some(nobody());
    }
    spec.policy_types = Some(named);
}

fn unlisted_rules_count(spec: &mut NetworkPolicySpec) {
    let lists = [("Ingress", !is_empty(&spec.ingress)), ("Egress", !is_empty(&spec.egress))];
    for (name, there) in lists {
        if there {
            spec.policy_types.iter_mut().for_each(|types| types.push(name.to_owned()));
        }
    }
}

fn empty_rule_allows_nothing(spec: &mut NetworkPolicySpec) {
    spec.ingress.iter_mut().for_each(|rules| rules.retain(|rule| !(is_empty(&rule.from) && is_empty(&rule.ports))));
    spec.egress.iter_mut().for_each(|rules| rules.retain(|rule| !(is_empty(&rule.to) && is_empty(&rule.ports))));
}

fn first_rule_only(spec: &mut NetworkPolicySpec) {
    spec.ingress.iter_mut().for_each(|rules| rules.truncate(1));
    spec.egress.iter_mut().for_each(|rules| rules.truncate(1));
}

fn peer_or_port(spec: &mut NetworkPolicySpec) {
    for rules in spec.ingress.iter_mut() {
        let ports = rules.iter().filter(|rule| !is_empty(&rule.from) && !is_empty(&rule.ports));
        let ports: Vec<_> = ports
            .map(|rule| {
                let mut rule = rule.clone();
                rule.from = None;
                rule
            })
            .collect();
        rules.iter_mut().filter(|rule| !is_empty(&rule.from)).for_each(|rule| rule.ports = None);
        rules.extend(ports);
    }
    for rules in spec.egress.iter_mut() {
        let ports = rules.iter().filter(|rule| !is_empty(&rule.to) && !is_empty(&rule.ports));
        let ports: Vec<_> = ports
            .map(|rule| {
                let mut rule = rule.clone();
                rule.to = None;
                rule
            })
            .collect();
        rules.iter_mut().filter(|rule| !is_empty(&rule.to)).for_each(|rule| rule.ports = None);
        rules.extend(ports);
    }
}
