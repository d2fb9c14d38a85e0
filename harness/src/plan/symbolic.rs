//! Addresses for planning, before anything has booted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Bindings, BoundPod, BoundService, OUTSIDE, PodRef, Topology};

/// Namespaces under their logical names; pods at 10.244.SLOT.N and fd00:10:244:SLOT::N on nodes at 192.0.2.SLOT and 2001:db8::SLOT,
/// Services at 10.96.0.N and fd00:10:96::N. Each generation, as after pods were created again, has addresses of its own.
pub(crate) fn symbolic(topology: &Topology, generations: &BTreeMap<PodRef, u8>) -> Bindings {
    let slots: BTreeSet<&String> = topology.slots.values().collect();
    let slot_numbers: BTreeMap<&String, u8> = slots.into_iter().zip(1..).collect();
    let names = topology.namespaces.iter().filter_map(|namespace| namespace.metadata.name.clone());
    let mut bindings = Bindings { namespaces: names.map(|name| (name.clone(), name)).collect(), ..Bindings::default() };
    for (pod, number) in topology.pods.keys().zip(2u8..) {
        let slot = topology.slots.get(pod);
        let slot_number = slot.and_then(|slot| slot_numbers.get(slot)).copied().unwrap_or(1);
        let generation = generations.get(pod).copied().unwrap_or(0);
        let node_ips: Vec<IpAddr> = vec![
            Ipv4Addr::new(192, 0, 2, slot_number).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, slot_number.into()).into(),
        ];
        let in_node_network = topology.pods.get(pod).and_then(|pod| pod.spec.as_ref()?.host_network).unwrap_or(false);
        // The third byte holds slot and generation: 32 slots, 8 generations.
        let subnet = (slot_number % 32) + 32 * (generation % 8);
        let ips = match in_node_network || slot.is_some_and(|slot| slot == OUTSIDE) {
            true => node_ips.clone(),
            false => vec![
                Ipv4Addr::new(10, 244, subnet, number).into(),
                Ipv6Addr::new(0xfd00, 0x10, 0x244, subnet.into(), 0, 0, 0, number.into()).into(),
            ],
        };
        let node = format!("slot-{}", slot.map_or("a", String::as_str));
        bindings.pods.insert(pod.clone(), BoundPod { ips, node, node_ips });
    }
    for ((name, service), number) in topology.services.iter().zip(1u8..) {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).zip(0u16..);
        let node_ports = ports.filter_map(|(port, index)| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some(((protocol, u16::try_from(port.port).ok()?), 30_000 + 10 * u16::from(number) + index))
        });
        let ips = vec![
            Ipv4Addr::new(10, 96, 0, number).into(),
            Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, number.into()).into(),
        ];
        bindings.services.insert(name.clone(), BoundService { ips, node_ports: node_ports.collect() });
    }
    bindings
}
