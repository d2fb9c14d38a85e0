//! The ruleset of manifests, without a cluster.

use std::collections::BTreeSet;
use std::fs;

use netpol_enforcer::compile::Site;
use netpol_enforcer::dry_run;

use crate::manifests::site;

const MANIFESTS: &str = "
kind: List
items:
  - {kind: Namespace, metadata: {name: default, labels: {kubernetes.io/metadata.name: default}}}
  - kind: Pod
    metadata: {name: server, labels: {app: server}}
    spec: {nodeName: node-1, containers: []}
    status: {phase: Running, podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}]}
---
kind: NetworkPolicy
metadata: {name: some}
spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}
---
kind: ConfigMap
metadata: {name: other}
";

#[test]
fn manifests_are_compiled_and_what_is_wrong_in_them_is_told() {
    let site = Site { uplinks: BTreeSet::from(["lo".to_owned()]), ..site("node-1") };
    let file = std::env::temp_dir().join(format!("netpol-dry-run-{}.yaml", std::process::id()));
    fs::write(&file, MANIFESTS).expect("a file");
    let text = dry_run::ruleset(std::slice::from_ref(&file), &site).expect("a ruleset").to_string();
    for part in [
        "table inet netpol {",
        "10.1.0.2 comment \"default/server\" : jump",
        "policy/default/some/ingress",
        "192.0.2.0/24",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::write(&file, "kind: Pod\nmetadata: {name: bad}\nspec: 7\n").expect("a file");
    let error = dry_run::ruleset(std::slice::from_ref(&file), &site).expect_err("no pod");
    assert!(format!("{error:#}").contains("\"Pod\" \"bad\" is not valid"), "{error:#}");
    fs::remove_file(&file).expect("removed");
}
