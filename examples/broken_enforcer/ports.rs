//! Bugs in ports and protocols, as policies name them.

use k8s_openapi::api::networking::v1::{NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::mutant::{Bug, Mutant};
use crate::reading::{ports, rules};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "protocols-ignored",
        "N39",
        "A port's number counts, whatever its protocol",
        Bug::Reading(|spec| with_protocols(spec, |port| port.port.is_some())),
    ),
    Mutant::new(
        "protocol-alone-is-any",
        "N38",
        "A protocol without a port means every protocol",
        Bug::Reading(|spec| {
            rules(spec)
                .filter(|(_, ports)| ports.iter().flatten().any(|port| port.port.is_none()))
                .for_each(|(_, ports)| *ports = None);
        }),
    ),
    Mutant::new(
        "end-port-ignored",
        "N43 N44 P8",
        "Of a range only the first port counts",
        Bug::Reading(|spec| ports(spec).for_each(|port| port.end_port = None)),
    ),
    Mutant::new(
        "end-port-exclusive",
        "N43 P8",
        "The last port of a range is not part of it",
        Bug::Reading(|spec| ports(spec).for_each(end_port_exclusive)),
    ),
];

fn end_port_exclusive(port: &mut NetworkPolicyPort) {
    if let (Some(IntOrString::Int(first)), Some(end)) = (&port.port, &mut port.end_port) {
        *end = (*end - 1).max(*first);
    }
}

/// Lists certain ports once for each protocol.
fn with_protocols(spec: &mut NetworkPolicySpec, which: fn(&NetworkPolicyPort) -> bool) {
    for ports in rules(spec).filter_map(|(_, ports)| ports.as_mut()) {
        let every = |port: &NetworkPolicyPort| {
            PROTOCOLS.map(|name| NetworkPolicyPort { protocol: Some(name.to_owned()), ..port.clone() })
        };
        let more: Vec<_> = ports.iter().filter(|port| which(port)).flat_map(every).collect();
        ports.extend(more);
    }
}
