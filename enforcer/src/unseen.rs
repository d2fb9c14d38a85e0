//! Traffic of pods that does not pass the hooks at which it is judged.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::uplinks::{Links, Way};
use crate::world::Pod;

/// How long a pod may have an address that nothing leads to: the network of one that starts or ends is there before or after
/// what the API server tells of it.
const NO_WAY: Duration = Duration::from_secs(10);

/// What is found of a node.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Since when nothing leads to an address.
    no_way: HashMap<IpAddr, Instant>,
    undecided: bool,
}

impl Unseen {
    /// What of the node's pods cannot be policed, each with what to do about it; empty on a node as it should be.
    pub(crate) fn find<'a>(
        &mut self,
        own: impl IntoIterator<Item = &'a Pod>,
        links: &Links,
        now: Instant,
    ) -> Vec<String> {
        let mut found = Vec::new();
        if links.ipvs {
            // P42: pods' Service traffic then leaves by the output hook, where the node's own does.
            found.push(
                "kube-proxy runs in IPVS mode (kube-ipvs0 is there), in which traffic to Services is not seen as a pod's; \
                 use its mode iptables or nftables and delete the device"
                    .to_owned(),
            );
        }
        let before = std::mem::take(&mut self.no_way);
        let (mut bridged, mut lost) = (None, None);
        for pod in own.into_iter().filter(|pod| !pod.terminating) {
            for address in &pod.addresses {
                match links.way(*address) {
                    Way::OwnLink => {}
                    Way::Shared(link) => bridged = bridged.or(Some((pod, *address, link))),
                    Way::None => {
                        let since = *self.no_way.entry(*address).or_insert(*before.get(address).unwrap_or(&now));
                        if now.duration_since(since) >= NO_WAY {
                            lost = lost.or(Some((pod, *address)));
                        }
                    }
                }
            }
        }
        self.undecided = self.no_way.values().any(|since| now.duration_since(*since) < NO_WAY);
        // One is enough to know what network it is.
        if let Some((pod, address, link)) = bridged {
            found.push(format!(
                "pod {} ({address}) has no host route of its own but is a neighbour on {link}, where pods reach each other \
                 without being seen: use a network plugin that routes pods (such as ptp), not bridge, macvlan or ipvlan",
                pod.key
            ));
        }
        if let Some((pod, address)) = lost {
            found.push(format!(
                "no route of the node leads to pod {} ({address}), so that its traffic passes elsewhere, as with ipvlan in \
                 mode L3: use a network plugin that routes pods by the node (such as ptp)",
                pod.key
            ));
        }
        found
    }

    /// Whether it has to be looked again although nothing changes.
    pub(crate) fn is_undecided(&self) -> bool {
        self.undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let object = serde_json::json!({
            "metadata": { "namespace": "default", "name": "pod" }, "status": { "podIP": "10.9.0.2" },
        });
        Pod::read(&serde_json::from_value(object).unwrap())
    }

    /// As ipvlan in mode L3 leaves it: the node has no route to its own pod.
    #[test]
    fn a_pod_that_nothing_leads_to_is_refused_after_a_while() {
        let (pod, links, start) = (pod(), Links::default(), Instant::now());
        let mut unseen = Unseen::default();
        assert_eq!(unseen.find([&pod], &links, start), Vec::<String>::new());
        assert!(unseen.is_undecided());
        assert_eq!(unseen.find([&pod], &links, start + NO_WAY / 2), Vec::<String>::new());
        let found = unseen.find([&pod], &links, start + NO_WAY);
        assert!(found[0].contains("no route of the node leads to pod default/pod (10.9.0.2)"), "{found:?}");
        assert!(!unseen.is_undecided());
        let routed = Links { hosts: [pod.addresses.first().copied().unwrap()].into(), ..Links::default() };
        assert_eq!(unseen.find([&pod], &routed, start + NO_WAY), Vec::<String>::new());
        // The next time begins anew.
        assert_eq!(unseen.find([&pod], &links, start + NO_WAY * 2), Vec::<String>::new());
        let going = Pod { terminating: true, ..pod };
        assert_eq!(unseen.find([&going], &links, start + NO_WAY * 9), Vec::<String>::new());
    }
}
