//! Manifests are patched as the entry says, or refused. The excerpt has the places of Calico's manifest that our entry changes.

use netpol_harness::target::kind::cni_entry::{CniEntry, load};
use netpol_harness::target::kind::manifest::{ManifestError, objects, patch, set_image, text};
use netpol_harness::target::kind::{Cni, IpFamily};
use serde_json::Value;

const EXCERPT: &str = r#"
# Comments alone are no object.
---
kind: ConfigMap
apiVersion: v1
metadata: {name: calico-config, namespace: kube-system}
data:
  cni_network_config: |-
    {"plugins": [{"type": "calico", "ipam": {
              "type": "calico-ipam"
    }}]}
---
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      containers:
        - name: calico-node
          image: quay.io/calico/node:v3
          env:
            - {name: CALICO_IPV4POOL_VXLAN, value: CrossSubnet}
            - {name: NODENAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
"#;

fn calico() -> CniEntry {
    load(&Cni::Embedded("calico")).unwrap().cni
}

fn patched(family: IpFamily) -> Vec<Value> {
    let mut all = objects(EXCERPT).unwrap();
    patch(&mut all, &calico(), family).unwrap();
    all
}

fn variable<'a>(objects: &'a [Value], name: &str) -> Vec<&'a str> {
    let env = objects[1].pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array).unwrap();
    env.iter().filter(|entry| entry["name"] == name).filter_map(|entry| entry["value"].as_str()).collect()
}

#[test]
fn variables_are_replaced_or_added_once() {
    let objects = patched(IpFamily::Ipv4);
    assert_eq!(variable(&objects, "CALICO_IPV4POOL_VXLAN"), ["Always"]);
    assert_eq!(variable(&objects, "CALICO_IPV4POOL_CIDR"), ["10.244.0.0/16"]);
    assert_eq!(variable(&objects, "CALICO_IPV6POOL_CIDR"), [""; 0]);
    assert!(text(&objects).unwrap().contains("fieldPath: spec.nodeName"));
}

#[test]
fn an_ipv6_cluster_gets_no_ipv4_addresses() {
    let objects = patched(IpFamily::Ipv6);
    assert_eq!(variable(&objects, "CALICO_IPV4POOL_CIDR"), ["none"]);
    assert_eq!(variable(&objects, "CALICO_IPV6POOL_CIDR"), ["fd00:10:244::/56"]);
    let config = objects[0]["data"]["cni_network_config"].as_str().unwrap();
    let config: Value = serde_json::from_str(config).unwrap();
    let ipam = &config["plugins"][0]["ipam"];
    assert_eq!((&ipam["assign_ipv4"], &ipam["assign_ipv6"]), (&"false".into(), &"true".into()));
}

#[test]
fn a_patch_that_meets_nothing_is_refused() {
    let mut renamed = objects(&EXCERPT.replace("name: calico-node, namespace", "name: canal, namespace")).unwrap();
    let refused = patch(&mut renamed, &calico(), IpFamily::Ipv4).unwrap_err().to_string();
    assert!(refused.contains("DaemonSet calico-node") && refused.contains("no such object"), "{refused}");
    let mut other = objects(&EXCERPT.replace("calico-ipam", "host-local")).unwrap();
    assert!(matches!(patch(&mut other, &calico(), IpFamily::Dual), Err(ManifestError::Patch { .. })));
}

#[test]
fn our_own_image_takes_the_placeholders_place_and_no_other() {
    let mut all = objects(&EXCERPT.replace("quay.io/calico/node:v3", "netpol")).unwrap();
    set_image(&mut all, "netpol:0.1.0");
    assert_eq!(all[1].pointer("/spec/template/spec/containers/0/image").unwrap(), "netpol:0.1.0");
    let mut other = objects(EXCERPT).unwrap();
    set_image(&mut other, "netpol:0.1.0");
    assert!(text(&other).unwrap().contains("quay.io/calico/node:v3"));
}
