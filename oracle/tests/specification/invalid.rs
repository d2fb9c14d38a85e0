//! What the API server would refuse is refused, at the field and with the cause that the V rows name.

use crate::world::{cluster, policies};
use netpol_oracle::Specification;

/// Rule, spec, field, cause.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("V1", "ingress: [{ports: [{protocol: tcp}]}]", "spec.ingress[0].ports[0].protocol", "FieldValueNotSupported"),
    ("V2", "ingress: [{ports: [{port: 0}]}]", "spec.ingress[0].ports[0].port", "FieldValueInvalid"),
    ("V2", "egress: [{ports: [{port: 80}, {port: 65536}]}]", "spec.egress[0].ports[1].port", "FieldValueInvalid"),
    ("V3", "ingress: [{ports: [{port: '81'}]}]", "spec.ingress[0].ports[0].port", "FieldValueInvalid"),
    ("V3", "ingress: [{ports: [{port: a--b}]}]", "spec.ingress[0].ports[0].port", "FieldValueInvalid"),
    ("V3", "ingress: [{ports: [{port: sixteen-letters1}]}]", "spec.ingress[0].ports[0].port", "FieldValueInvalid"),
    ("V4", "ingress: [{ports: [{endPort: 81}]}]", "spec.ingress[0].ports[0].endPort", "FieldValueInvalid"),
    ("V5", "ingress: [{ports: [{port: http, endPort: 81}]}]", "spec.ingress[0].ports[0].endPort", "FieldValueInvalid"),
    ("V6", "ingress: [{ports: [{port: 81, endPort: 80}]}]", "spec.ingress[0].ports[0].endPort", "FieldValueInvalid"),
    ("V7", "ingress: [{ports: [{port: 81, endPort: 65536}]}]", "spec.ingress[0].ports[0].endPort", "FieldValueInvalid"),
    ("V8", "ingress: [{from: [{}]}]", "spec.ingress[0].from[0]", "FieldValueRequired"),
    (
        "V9",
        "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]",
        "spec.egress[0].to[0]",
        "FieldValueForbidden",
    ),
    ("V10", "ingress: [{from: [{ipBlock: {cidr: ''}}]}]", "spec.ingress[0].from[0].ipBlock.cidr", "FieldValueRequired"),
    (
        "V11",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.256/8}}]}]",
        "spec.ingress[0].from[0].ipBlock.cidr",
        "FieldValueInvalid",
    ),
    (
        "V11",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]",
        "spec.ingress[0].from[0].ipBlock.cidr",
        "FieldValueInvalid",
    ),
    (
        "V12",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]}]",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "FieldValueInvalid",
    ),
    (
        "V13",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.0.0.0/8]}}]}]",
        "spec.ingress[0].from[0].ipBlock.except[1]",
        "FieldValueInvalid",
    ),
    (
        "V13",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "FieldValueInvalid",
    ),
    (
        "V13",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]}]",
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "FieldValueInvalid",
    ),
    ("V14", "policyTypes: [ingress]", "spec.policyTypes[0]", "FieldValueNotSupported"),
    ("V15", "policyTypes: [Ingress, Egress, Ingress]", "spec.policyTypes", "FieldValueInvalid"),
    (
        "V16",
        "ingress: [{from: [{podSelector: {matchLabels: {a: -b}}}]}]",
        "spec.ingress[0].from[0].podSelector.matchLabels",
        "FieldValueInvalid",
    ),
    (
        "V16",
        "ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}]",
        "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
        "FieldValueRequired",
    ),
    (
        "V16",
        "ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}]}]",
        "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator",
        "FieldValueInvalid",
    ),
];

/// Accepted by the API server, and so by us.
const VALID: &[&str] = &[
    "ingress: [{from: [{podSelector: {}}]}]",
    "policyTypes: [Ingress, Ingress]",
    "policyTypes: [Egress], ingress: [{ports: [{}]}]",
    "ingress: [{ports: [{port: 80, endPort: 80}]}]",
    "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.1.0/24]}}], ports: [{port: http}]}]",
    "ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]",
    "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [255.255.255.255/32]}}]}]",
];

fn policy(name: &str, spec: &str) -> String {
    let spec = if spec.is_empty() { String::new() } else { format!(", {spec}") };
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: x}},
          spec: {{podSelector: {{}}{spec}}}}}"
    )
}

#[test]
fn each_row_is_refused_at_its_field_with_its_cause() {
    for (rule, spec, field, cause) in ROWS {
        let found = Specification::new(&cluster(policies(&policy("p", spec)))).unwrap_err();
        let found: Vec<_> =
            found.iter().map(|it| (it.rule.unwrap().to_string(), it.field.as_str(), it.cause.to_string())).collect();
        assert_eq!(found, [(rule.to_string(), *field, cause.to_string())], "{spec}");
    }
}

#[test]
fn what_the_api_server_accepts_is_accepted() {
    for spec in VALID {
        assert!(Specification::new(&cluster(policies(&policy("p", spec)))).is_ok(), "{spec}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let yaml = [policy("Bad_Name", "policyTypes: [in, out]"), policy("p", "ingress: [{from: [{}]}]"), policy("p", "")]
        .join("\n---\n");
    let found = Specification::new(&cluster(policies(&yaml))).unwrap_err();
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "policy x/Bad_Name is invalid at metadata.name: 'Bad_Name' is not a DNS subdomain",
            "policy x/Bad_Name is invalid at spec.policyTypes[0]: 'in' is not a policy type: Ingress and Egress are",
            "policy x/Bad_Name is invalid at spec.policyTypes[1]: 'out' is not a policy type: Ingress and Egress are",
            "policy x/p is invalid at spec.ingress[0].from[0]: a peer must say podSelector, namespaceSelector or ipBlock",
        ]
    );
    let yaml = [policy("p", ""), policy("p", "")].join("\n---\n");
    let found = Specification::new(&cluster(policies(&yaml))).unwrap_err();
    assert_eq!(found[0].to_string(), "policy x/p is invalid at metadata.name: there are two policies of this name");
}

#[test]
fn rules_are_cited_by_their_numbers_alone() {
    use netpol_oracle::RuleId;
    assert_eq!("N65".parse(), Ok(RuleId::N(65)));
    assert_eq!("V17".parse(), Ok(RuleId::V(17)));
    for text in ["N0", "N66", "V18", "n1", "N01", "N+1", "N", "", "N256", "é1"] {
        assert!(text.parse::<RuleId>().is_err(), "{text}");
    }
}
