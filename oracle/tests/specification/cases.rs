//! One row per rule, or several: a policy in `x` unless said otherwise, flows, what they get, and the rules that must be cited.

use std::collections::BTreeSet;

use crate::world::{judge, policies};

/// Rules that its judgements must cite; specs as flow YAML, one policy each; flows that pass; flows that do not.
struct Row {
    cites: &'static [&'static str],
    specs: &'static [&'static str],
    passes: &'static [&'static str],
    denied: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        cites: &["N1"],
        specs: &[],
        passes: &["y/b > x/a tcp/80", "y/b > x/a icmp", "10.9.9.9 > x/a udp/5"],
        denied: &[],
    },
    // Isolation of one direction leaves the other (N2), and pods that are not selected (N5), and other namespaces (N11).
    Row {
        cites: &["N3"],
        specs: &["{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}"],
        passes: &["x/a > x/b tcp/80", "y/b > x/b tcp/80", "x/b > y/a tcp/80"],
        denied: &["x/b > x/a tcp/80", "y/b > x/a udp/80", "10.9.9.9 > x/a sctp/80", "y/b > x/a icmp"],
    },
    // policyTypes left out: ingress always, egress only with a rule (N6, N7, N8).
    Row {
        cites: &["N1"],
        specs: &["{podSelector: {}, egress: []}"],
        passes: &["x/a > y/a tcp/80"],
        denied: &["y/a > x/a tcp/80", "x/b > x/a tcp/80"],
    },
    Row {
        cites: &["N3"],
        specs: &["{podSelector: {}, egress: [{ports: [{port: 80}]}]}"],
        passes: &["x/a > y/a tcp/80"],
        denied: &["y/a > x/a tcp/80", "x/a > y/a tcp/81"],
    },
    // Rules of an unlisted direction neither isolate nor allow (N9).
    Row {
        cites: &["N1"],
        specs: &["{podSelector: {}, policyTypes: [Egress], ingress: [], egress: [{}]}"],
        passes: &["y/a > x/a tcp/80", "x/a > y/a udp/9"],
        denied: &[],
    },
    // Policies add up (N12, N13).
    Row {
        cites: &["N12", "N18"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: none}}}]}]}",
            "{podSelector: {}, ingress: [{}]}",
        ],
        passes: &["y/b > x/a tcp/80", "y/b > x/a icmp"],
        denied: &[],
    },
    // Both ends must agree (N14).
    Row {
        cites: &["N14"],
        specs: &[
            "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
            "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress]}",
        ],
        passes: &[],
        denied: &["x/a > x/b tcp/80"],
    },
    // The way back is not judged (N15).
    Row {
        cites: &["N15"],
        specs: &["{podSelector: {}, policyTypes: [Egress]}"],
        passes: &["y/a > x/a tcp/80"],
        denied: &[],
    },
    // Peer and port within one rule, alternatives between rules (N19).
    Row {
        cites: &["N19"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}, {from: [{namespaceSelector: {matchLabels: {team: two}}}], ports: [{port: 81}]}]}",
        ],
        passes: &["x/b > x/a tcp/80", "y/b > x/a tcp/81"],
        denied: &["x/b > x/a tcp/81", "y/b > x/a tcp/80"],
    },
    // No `from`: anybody, also outside (N20); ports still count.
    Row {
        cites: &["N20"],
        specs: &["{podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]}"],
        passes: &["10.9.9.9 > x/a tcp/80", "y/b > x/a tcp/80"],
        denied: &["10.9.9.9 > x/a tcp/81"],
    },
    // podSelector alone: own namespace (N22). The hostNetwork pod bears the label and is not selected (N56).
    Row {
        cites: &["N22", "N25"],
        specs: &["{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{podSelector: {}}]}]}"],
        passes: &["x/a > x/b tcp/80"],
        denied: &["y/a > x/b tcp/80", "x/host > x/b tcp/80"],
    },
    // namespaceSelector alone (N23), by the label that every namespace has (N27).
    Row {
        cites: &["N23"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}]}",
        ],
        passes: &["y/a > x/a tcp/80", "y/b > x/a icmp"],
        denied: &["x/b > x/a tcp/80"],
    },
    // Both in one peer: and (N24). As two entries: or.
    Row {
        cites: &["N24"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: two}}, podSelector: {matchLabels: {pod: b}}}]}]}",
        ],
        passes: &["y/b > x/a tcp/80"],
        denied: &["y/a > x/a tcp/80", "x/b > x/a tcp/80"],
    },
    Row {
        cites: &["N19"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: two}}}, {podSelector: {matchLabels: {pod: b}}}]}]}",
        ],
        passes: &["y/b > x/a tcp/80", "y/a > x/a tcp/80", "x/b > x/a tcp/80"],
        denied: &["10.9.9.9 > x/a tcp/80"],
    },
    // Operators (N26); NotIn also takes objects without the key.
    Row {
        cites: &["N22"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [a]}, {key: pod, operator: Exists}, {key: gone, operator: DoesNotExist}, {key: gone, operator: NotIn, values: [a]}]}}]}]}",
        ],
        passes: &["x/b > x/a tcp/80"],
        denied: &["x/a > x/b tcp/80"],
    },
    // ipBlock and its holes (N29), which trim their own peer alone (N30).
    Row {
        cites: &["N29"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.22/32, 10.9.0.0/16]}}]}]}",
        ],
        passes: &["y/a > x/a tcp/80", "10.8.0.1 > x/a tcp/80"],
        denied: &["y/b > x/a tcp/80", "10.9.0.1 > x/a tcp/80", "11.0.0.0 > x/a tcp/80", "y/a > x/a tcp/80 v6"],
    },
    Row {
        cites: &["N30", "N12"],
        specs: &[
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.22/32]}}]}]}",
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
        ],
        passes: &["y/b > x/a tcp/80"],
        denied: &[],
    },
    Row {
        cites: &["N31"],
        specs: &["{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0', except: ['fd00::22/128']}}]}]}"],
        passes: &["y/a > x/a tcp/80 v6"],
        denied: &["y/b > x/a tcp/80 v6", "y/a > x/a tcp/80"],
    },
    // Protocol left out is TCP (N37); without a number, all of its ports (N38).
    Row {
        cites: &["N37", "N38"],
        specs: &["{podSelector: {}, ingress: [{ports: [{}]}]}"],
        passes: &["y/a > x/a tcp/1", "y/a > x/a tcp/65535"],
        denied: &["y/a > x/a udp/80", "y/a > x/a sctp/80", "y/a > x/a icmp"],
    },
    // Protocol and number (N39).
    Row {
        cites: &["N39"],
        specs: &["{podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}"],
        passes: &["y/a > x/a udp/80"],
        denied: &["y/a > x/a tcp/80", "y/a > x/a udp/81"],
    },
    // A named port is the receiver's: the subject for ingress, each destination for egress (N40, N41); nothing outside has names (N42).
    Row {
        cites: &["N40"],
        specs: &["{podSelector: {}, ingress: [{ports: [{port: http}]}]}"],
        passes: &["y/a > x/a tcp/80"],
        denied: &["y/a > x/a tcp/8080", "y/a > x/a udp/80"],
    },
    Row {
        cites: &["N40", "N41"],
        specs: &["{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"],
        passes: &["x/a > y/a tcp/8080", "x/a > x/b tcp/80"],
        denied: &["x/a > y/a tcp/80", "x/a > x/b tcp/8080", "x/a > 10.9.9.9 tcp/80"],
    },
    // From port to endPort, both included (N43).
    Row {
        cites: &["N43"],
        specs: &["{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 82}]}]}"],
        passes: &["y/a > x/a tcp/80", "y/a > x/a tcp/81", "y/a > x/a tcp/82"],
        denied: &["y/a > x/a tcp/79", "y/a > x/a tcp/83"],
    },
    // A rule for SCTP isolates and admits no TCP (N47).
    Row {
        cites: &["N39"],
        specs: &["{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}"],
        passes: &["y/a > x/a sctp/80"],
        denied: &["y/a > x/a tcp/80"],
    },
    // A rule without ports covers ICMP by peer (N48).
    Row {
        cites: &["N48"],
        specs: &["{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"],
        passes: &["x/b > x/a icmp"],
        denied: &["y/b > x/a icmp"],
    },
    // A pod cannot be kept from itself (N50).
    Row {
        cites: &["N50"],
        specs: &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        passes: &["x/a > x/a tcp/80", "x/a > x/a icmp"],
        denied: &["x/a > x/b tcp/80"],
    },
    // The own node passes, hostNetwork pods on it too (N53, N56).
    Row {
        cites: &["N53"],
        specs: &["{podSelector: {}}"],
        passes: &["node:n1 > x/a tcp/80", "x/host > x/a tcp/80"],
        denied: &[],
    },
    // Other nodes are outside peers (N55), by address alone (N36); the own node is policed for egress (N54).
    Row {
        cites: &["N55", "N36"],
        specs: &[
            "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 192.0.2.2/32}}]}]}",
        ],
        passes: &["node:n2 > x/a tcp/80"],
        denied: &["x/host > x/b tcp/80", "x/a > node:n1 tcp/80", "x/a > node:n2 tcp/80"],
    },
];

#[test]
fn every_flow_gets_what_the_rules_say() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let yaml: Vec<String> = row
            .specs
            .iter()
            .enumerate()
            .map(|(index, spec)| format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{index}, namespace: x}}, spec: {spec}}}"))
            .collect();
        let policies = if yaml.is_empty() { Vec::new() } else { policies(&yaml.join("\n---\n")) };
        let wanted: BTreeSet<String> = row.cites.iter().map(|rule| rule.to_string()).collect();
        let mut cited = BTreeSet::new();
        let passes = row.passes.iter().map(|flow| (flow, true));
        for (flow, allowed) in passes.chain(row.denied.iter().map(|flow| (flow, false))) {
            let judgement = judge(policies.clone(), flow);
            cited.extend(judgement.rules.iter().map(ToString::to_string));
            if judgement.allowed != allowed {
                wrong.push(format!("{:?} {flow}: {}", row.specs, judgement.reason));
            }
        }
        if !wanted.is_subset(&cited) {
            wrong.push(format!("{:?} cites {cited:?}, not {wanted:?}", row.specs));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_denial_names_the_policies_that_isolate_and_why_none_allows() {
    let policies = policies(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ports, namespace: x},
          spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: x}, spec: {podSelector: {}}}",
    );
    assert_eq!(
        judge(policies.clone(), "y/a > x/a tcp/81").reason.to_string(),
        "denied: pod x/a is isolated for ingress by x/closed (no ingress rules) and x/ports (ingress[0].ports has not the port)"
    );
    assert_eq!(
        judge(policies, "y/a > x/a tcp/80").reason.to_string(),
        "allowed: no policy isolates pod y/a for egress; x/ports allows it by ingress[0], any peer, ports[0]"
    );
}
