//! The file that `kind create cluster --config` gets.

use netpol_harness::target::kind::Cni;
use netpol_harness::target::kind::cni_entry::load;
use netpol_harness::target::kind::config::{Cgroup, kind_config};

use crate::{flags, refused};

fn config(cni: &'static str, line: &str, cgroup: Cgroup) -> String {
    kind_config(&load(&Cni::Embedded(cni)).unwrap().cni, &flags(line), cgroup).unwrap()
}

#[test]
fn calico_on_cgroup_v2() {
    insta::assert_snapshot!(config("calico", "", Cgroup::V2));
}

#[test]
fn the_enforcer_on_cgroup_v1_with_three_workers_of_a_version() {
    insta::assert_snapshot!(config("enforcer", "--workers 3 --kubernetes-version v1.36.1", Cgroup::V1));
}

#[test]
fn kindnet_dual_stack_from_a_node_image() {
    insta::assert_snapshot!(config("kindnet", "--ip-family dual --node-image my/node:1 --workers 1", Cgroup::V2));
}

#[test]
fn only_kindnet_keeps_kinds_own_cni() {
    for (cni, disabled) in [("calico", true), ("enforcer", true), ("none", true), ("kindnet", false)] {
        let config = config(cni, "--ip-family ipv6", Cgroup::V2);
        assert!(config.contains(&format!("disableDefaultCNI: {disabled}")), "{config}");
        assert!(config.contains("podSubnet: fd00:10:244::/56"), "{config}");
    }
}

#[test]
fn flags_say_what_they_take() {
    for (line, said) in [
        ("--kubernetes-version 1.36", "node images exist for whole versions only"),
        ("--kubernetes-version 1.36.1 --node-image x", "cannot be used with"),
        ("--workers 0", "0 is not in 1..=50"),
        ("--ip-family v6", "[possible values: ipv4, ipv6, dual]"),
        ("--cluster-name Mine", "lower case"),
        ("--mirror mirror.example", "https://"),
    ] {
        assert!(refused(line).contains(said), "{line}: {}", refused(line));
    }
}

#[test]
fn a_child_gets_the_same_flags() {
    let given = flags(
        "--kubernetes-version 1.36.1 --workers 4 --ip-family dual --cluster-name a --cni-manifest m --mirror http://x/ --image-archive i --load a --load b -v",
    );
    let words: Vec<_> = given.arguments().into_iter().map(|word| word.into_string().unwrap()).collect();
    assert_eq!(flags(&words.join(" ")), given);
    assert_eq!((given.mirror.as_deref(), given.is_unset()), (Some("http://x"), false));
    assert!(flags("-v").is_unset());
}
