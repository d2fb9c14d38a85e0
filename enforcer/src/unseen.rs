//! Traffic of pods that does not pass the hooks at which it is judged.

use crate::uplinks::Links;
use crate::world::Pod;

/// What of the node's pods cannot be policed, each with what to do about it; empty on a node as it should be.
pub(crate) fn find<'a>(own: impl IntoIterator<Item = &'a Pod>, links: &Links) -> Vec<String> {
    let mut found = Vec::new();
    if links.ipvs {
        // P42: pods' Service traffic then leaves by the output hook, where the node's own does.
        found.push(
            "kube-proxy runs in IPVS mode (kube-ipvs0 is there), in which traffic to Services is not seen as a pod's; \
             use its mode iptables or nftables and delete the device"
                .to_owned(),
        );
    }
    let bridged = own.into_iter().filter(|pod| !pod.terminating).find_map(|pod| {
        pod.addresses.iter().find_map(|address| links.bridged(*address).map(|link| (pod, address, link)))
    });
    if let Some((pod, address, link)) = bridged {
        found.push(format!(
            "pod {} ({address}) has no host route of its own but is a neighbour on {link}, where pods reach each other \
             without being seen: use a network plugin that routes pods (such as ptp), not bridge, macvlan or ipvlan",
            pod.key
        ));
    }
    found
}
