//! Addresses for planning, before anything has booted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{Bindings, BoundPod, PodRef, Topology};

/// Namespaces under their logical names; pods at 10.244.SLOT.N on nodes at 192.0.2.SLOT. Each generation, as after pods were
/// created again, has addresses of its own.
pub(crate) fn symbolic(topology: &Topology, generations: &BTreeMap<PodRef, u8>) -> Bindings {
    let slots: BTreeSet<&String> = topology.slots.values().collect();
    let slot_numbers: BTreeMap<&String, u8> = slots.into_iter().zip(1..).collect();
    let names = topology.namespaces.iter().filter_map(|namespace| namespace.metadata.name.clone());
    let mut bindings = Bindings { namespaces: names.map(|name| (name.clone(), name)).collect(), pods: BTreeMap::new() };
    for (pod, number) in topology.pods.keys().zip(2u8..) {
        let slot = topology.slots.get(pod);
        let slot_number = slot.and_then(|slot| slot_numbers.get(slot)).copied().unwrap_or(1);
        let generation = generations.get(pod).copied().unwrap_or(0);
        let node_ip = IpAddr::from(Ipv4Addr::new(192, 0, 2, slot_number));
        let in_node_network = topology.pods.get(pod).and_then(|pod| pod.spec.as_ref()?.host_network).unwrap_or(false);
        let ip = match in_node_network {
            true => node_ip,
            // The third byte holds slot and generation: 32 slots, 8 generations.
            false => IpAddr::from(Ipv4Addr::new(10, 244, (slot_number % 32) + 32 * (generation % 8), number)),
        };
        let node = format!("slot-{}", slot.map_or("a", String::as_str));
        bindings.pods.insert(pod.clone(), BoundPod { ips: vec![ip], node, node_ips: vec![node_ip] });
    }
    bindings
}
