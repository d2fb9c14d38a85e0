//! CNI entries: the embedded ones are whole, and wrong ones are refused with everything that is wrong.

use netpol_harness::execute::Profile;
use netpol_harness::target::kind::cni_entry::{embedded_manifest, load, names, parse};
use netpol_harness::target::kind::{Cni, IpFamily};

#[test]
fn every_embedded_entry_is_whole() {
    assert_eq!(names().collect::<Vec<_>>(), ["calico", "enforcer", "kindnet", "none"]);
    for name in names() {
        let entry = load(&Cni::parse(name)).unwrap_or_else(|problems| panic!("{problems}")).cni;
        assert_eq!(entry.metadata.name, name);
        assert_eq!(entry.ip_families.len(), 3, "{name}");
        let full = if name == "kindnet" { Profile::Conformance } else { Profile::Full };
        assert_eq!(entry.profile, full, "{name}");
        assert_eq!(entry.cluster.disable_default_cni, name != "kindnet");
    }
}

#[test]
fn calico_is_pinned_and_told_the_pods_range() {
    let entry = load(&Cni::Embedded("calico")).unwrap().cni;
    let download = entry.install.download.clone().unwrap();
    assert!(download.url.contains(&format!("/{}/", download.version)), "{download:?}");
    let patches = |family: IpFamily| {
        let wanted = entry.install.patches.iter().filter(move |patch| patch.ip_families.contains(&family));
        wanted.flat_map(|patch| patch.env.values().flatten()).collect::<Vec<_>>()
    };
    let has = |family, name: &str, value: &str| patches(family).iter().any(|(n, v)| *n == name && *v == value);
    for family in [IpFamily::Ipv4, IpFamily::Dual] {
        assert!(has(family, "CALICO_IPV4POOL_VXLAN", "Always") && has(family, "CALICO_IPV4POOL_IPIP", "Never"));
        assert!(has(family, "CALICO_IPV4POOL_CIDR", "${pod-subnet4}"));
    }
    for family in [IpFamily::Ipv6, IpFamily::Dual] {
        assert!(has(family, "FELIX_IPV6SUPPORT", "true") && has(family, "CALICO_IPV6POOL_CIDR", "${pod-subnet6}"));
    }
}

#[test]
fn the_manifests_that_entries_name_are_embedded() {
    for name in ["enforcer", "none"] {
        let entry = load(&Cni::Embedded(name)).unwrap().cni;
        assert!(entry.runs_our_image());
        let labels = entry.ready[0].selector.split_once('=').map(|(key, value)| format!("{key}: {value}")).unwrap();
        let texts: String = entry.install.embedded.iter().map(|path| embedded_manifest(path).unwrap()).collect();
        assert!(texts.contains(&labels), "{labels} selects nothing");
        assert!(texts.contains("image: netpol\n"), "the image's place is not there");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = "
apiVersion: netpol.dev/v2
kind: CniEntry
metadata: {name: My CNI}
description: wrong
install:
  embedded: [nothing.yaml]
  download: {version: v1, url: 'ftp://x/y', sha256: ABC}
ready: []
cluster:
  disableDefaultCNI: false
  podSubnet: {ipv4: 10.0.0.0/16, ipv6: 'fd00::/56'}
  kubeProxy: none
ipFamilies: []
profile: full
lacks: []
deviations: [{case: a/b, reason: ' '}]
";
    let problems = parse("my.yaml", text).unwrap_err();
    let mut paths: Vec<_> = problems.iter().filter_map(|problem| problem.path.as_deref()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "apiVersion",
            "cluster.disableDefaultCNI",
            "cluster.kubeProxy",
            "deviations[0].reason",
            "install",
            "install.download.sha256",
            "install.download.url",
            "install.embedded[0]",
            "ipFamilies",
            "metadata.name",
            "ready",
        ]
    );
    let unknown = load(&Cni::parse("cilium")).unwrap_err().to_string();
    assert!(unknown.contains("kind:calico, kind:enforcer, kind:kindnet, kind:none"), "{unknown}");
}
