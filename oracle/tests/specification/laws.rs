//! Laws that hold for all policies.

use crate::world::{cluster, flow, policies};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle::{Cluster, Direction, Judgement, Labels, PodName, Reason, Side, Specification};
use proptest::prelude::*;

const FLOWS: &[&str] = &[
    "x/a > x/b tcp/80",
    "x/b > x/a tcp/81",
    "x/b > x/a icmp",
    "x/a > y/a tcp/8080",
    "y/b > x/a tcp/80",
    "y/b > x/a udp/80",
    "y/a > y/b tcp/81",
    "y/b > x/b icmp v6",
    "x/a > y/b tcp/80 v6",
    "x/host > x/b tcp/80",
    "node:n2 > x/a tcp/80",
    "10.9.9.9 > x/a tcp/80",
    "x/a > 10.9.9.9 udp/53",
];

fn judgements(policies: &[NetworkPolicy]) -> Vec<Judgement> {
    let specification = Specification::new(&cluster(policies.to_vec())).unwrap();
    FLOWS.iter().map(|line| specification.judge(&flow(line)).unwrap()).collect()
}

fn selector() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{}",
        "{matchLabels: {pod: a}}",
        "{matchLabels: {pod: b}}",
        "{matchLabels: {team: two}}",
        "{matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}",
        "{matchExpressions: [{key: team, operator: Exists}]}",
    ])
}

fn peer() -> impl Strategy<Value = String> {
    prop_oneof![
        selector().prop_map(|pods| format!("{{podSelector: {pods}}}")),
        selector().prop_map(|namespaces| format!("{{namespaceSelector: {namespaces}}}")),
        (selector(), selector()).prop_map(|(pods, all)| format!("{{podSelector: {pods}, namespaceSelector: {all}}}")),
        prop::sample::select(vec![
            "{ipBlock: {cidr: 0.0.0.0/0}}",
            "{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.12/32, 10.0.0.16/28]}}",
            "{ipBlock: {cidr: 192.0.2.2/32}}",
            "{ipBlock: {cidr: '::/0', except: ['fd00::22/128']}}",
        ])
        .prop_map(str::to_owned),
    ]
}

fn rule(list: &'static str) -> impl Strategy<Value = String> {
    let port =
        prop::sample::select(vec!["{}", "{port: 80}", "{port: http}", "{port: 80, endPort: 90}", "{protocol: UDP}"]);
    (prop::collection::vec(peer(), 0..3), prop::collection::vec(port, 0..3))
        .prop_map(move |(peers, ports)| format!("{{{list}: [{}], ports: [{}]}}", peers.join(", "), ports.join(", ")))
}

/// Policies of both namespaces, with policyTypes said.
fn some_policies() -> impl Strategy<Value = Vec<NetworkPolicy>> {
    let types = prop::sample::select(vec!["[Ingress]", "[Egress]", "[Ingress, Egress]"]);
    let rules = |list| prop::collection::vec(rule(list), 0..3).prop_map(|rules| rules.join(", "));
    let one = (prop::sample::select(vec!["x", "y"]), selector(), types, rules("from"), rules("to"));
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let documents: Vec<String> = all
            .iter()
            .enumerate()
            .map(|(index, (namespace, subjects, types, ingress, egress))| {
                format!(
                    "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{index}, namespace: {namespace}}},
                      spec: {{podSelector: {subjects}, policyTypes: {types}, ingress: [{ingress}], egress: [{egress}]}}}}"
                )
            })
            .collect();
        if documents.is_empty() { Vec::new() } else { policies(&documents.join("\n---\n")) }
    })
}

proptest! {
    #[test]
    fn the_order_of_policies_is_irrelevant((policies, shuffled) in some_policies().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))) {
        prop_assert_eq!(judgements(&policies), judgements(&shuffled));
    }

    #[test]
    fn the_order_of_rules_peers_and_ports_changes_no_verdict(policies in some_policies()) {
        let mut reversed = policies.clone();
        for spec in reversed.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
            for rule in spec.ingress.iter_mut().flatten() {
                rule.from.iter_mut().for_each(|peers| peers.reverse());
                rule.ports.iter_mut().for_each(|ports| ports.reverse());
            }
            for rule in spec.egress.iter_mut().flatten() {
                rule.to.iter_mut().for_each(|peers| peers.reverse());
                rule.ports.iter_mut().for_each(|ports| ports.reverse());
            }
            spec.ingress.iter_mut().for_each(|rules| rules.reverse());
            spec.egress.iter_mut().for_each(|rules| rules.reverse());
        }
        let verdicts = |policies: &[NetworkPolicy]| judgements(policies).iter().map(|it| it.allowed).collect::<Vec<_>>();
        prop_assert_eq!(verdicts(&policies), verdicts(&reversed));
    }

    #[test]
    fn adding_a_rule_never_removes_an_allow(policies in some_policies(), more in some_policies()) {
        // The rules of `more` go into the policies of the same place, whose policyTypes stay: no pod is isolated anew.
        let mut grown = policies.clone();
        for (policy, source) in grown.iter_mut().zip(more) {
            let (Some(spec), Some(source)) = (policy.spec.as_mut(), source.spec) else { continue };
            spec.ingress.get_or_insert_default().extend(source.ingress.unwrap_or_default());
            spec.egress.get_or_insert_default().extend(source.egress.unwrap_or_default());
        }
        for (before, after) in judgements(&policies).iter().zip(judgements(&grown)) {
            prop_assert!(after.allowed || !before.allowed, "{} became {}", before.reason, after.reason);
        }
    }

    #[test]
    fn a_policy_acts_on_its_own_namespace_alone(policies in some_policies()) {
        let of_y: Vec<_> = policies.into_iter().filter(|policy| policy.metadata.namespace.as_deref() == Some("y")).collect();
        for (line, judgement) in FLOWS.iter().zip(judgements(&of_y)) {
            if !line.contains("y/") {
                prop_assert!(judgement.allowed, "{}", judgement.reason);
            }
        }
    }

    #[test]
    fn deleting_the_last_policy_opens(mut policies in some_policies()) {
        policies.clear();
        prop_assert!(judgements(&policies).iter().all(|judgement| judgement.allowed));
    }

    #[test]
    fn where_no_policy_is_left_in_a_namespace_its_pods_are_open(policies in some_policies()) {
        let of_x: Vec<_> = policies.into_iter().filter(|policy| policy.metadata.namespace.as_deref() == Some("x")).collect();
        prop_assert!(judgements(&of_x)[6].allowed, "y/a > y/b with policies in x alone");
    }

    #[test]
    fn without_the_policies_that_isolate_a_pod_it_is_open_again(policies in some_policies()) {
        for (line, judgement) in FLOWS.iter().zip(judgements(&policies)) {
            let Judgement { reason: Reason { egress, ingress, .. }, .. } = judgement;
            for (direction, side) in [(Direction::Egress, egress), (Direction::Ingress, ingress)] {
                let Side::Denied(isolating) = side else { continue };
                let isolates = |policy: &NetworkPolicy| isolating.iter().any(|it| Some(&it.policy.name) == policy.metadata.name.as_ref());
                let left: Vec<_> = policies.iter().filter(|policy| !isolates(policy)).cloned().collect();
                let after = Specification::new(&cluster(left)).unwrap().judge(&flow(line)).unwrap().reason;
                let side = if direction == Direction::Egress { after.egress } else { after.ingress };
                prop_assert_eq!(side, Side::NotIsolated, "{} {}", line, direction);
            }
        }
    }

    #[test]
    fn a_relabelled_pod_changes_its_own_flows_alone_and_relabelling_back_restores_them(
        policies in some_policies(), labels in prop::sample::select(vec!["a", "b", "c"]),
    ) {
        let judge = |cluster: &Cluster| {
            let specification = Specification::new(cluster).unwrap();
            FLOWS.iter().map(|line| specification.judge(&flow(line)).unwrap()).collect::<Vec<_>>()
        };
        let mut cluster = cluster(policies);
        let before = judge(&cluster);
        let name = PodName { namespace: "x".to_owned(), name: "a".to_owned() };
        let old = std::mem::replace(
            &mut cluster.pods.get_mut(&name).unwrap().labels,
            Labels::from([("pod".to_owned(), labels.to_owned())]),
        );
        for ((line, before), after) in FLOWS.iter().zip(&before).zip(judge(&cluster)) {
            prop_assert!(line.contains("x/a") || *before == after, "{} {}", line, after.reason);
        }
        cluster.pods.get_mut(&name).unwrap().labels = old;
        prop_assert_eq!(before, judge(&cluster));
    }

    #[test]
    fn blocks_of_one_family_never_change_a_verdict_of_the_other(policies in some_policies(), of_v6 in any::<bool>()) {
        let mut without = policies.clone();
        let of_family = |peer: &k8s_openapi::api::networking::v1::NetworkPolicyPeer| {
            peer.ip_block.as_ref().is_some_and(|block| block.cidr.contains(':') == of_v6)
        };
        for spec in without.iter_mut().filter_map(|policy| policy.spec.as_mut()) {
            // A peer that nobody has stands for the removed one: an empty list would mean anybody.
            let nobody = || serde_yaml::from_str("{podSelector: {matchLabels: {pod: nobody}}}").unwrap();
            let lists = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
            lists.chain(spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut())).flatten().for_each(|peer| {
                if of_family(peer) {
                    *peer = nobody();
                }
            });
        }
        for (line, (with, without)) in FLOWS.iter().zip(judgements(&policies).iter().zip(judgements(&without))) {
            if line.ends_with("v6") != of_v6 {
                prop_assert_eq!(with.allowed, without.allowed);
            }
        }
    }
}
