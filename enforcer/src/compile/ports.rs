//! Sets of protocol and port.

use netpol_nft::{DataType, Element, Protocol as NftProtocol, Ruleset, Set};

use super::names::set_name;
use crate::world::PortRange;

/// Adds the set that holds these ports, and returns its name. Ranges that overlap or touch are merged (P8, P10).
pub(super) fn add(ports: &[PortRange], ruleset: &mut Ruleset) -> String {
    let merged = merge(ports);
    let text: Vec<String> =
        merged.iter().map(|range| format!("{}:{}-{}", range.protocol.number(), range.first, range.last)).collect();
    let name = set_name("ports", &text.join(","));
    let elements = merged.iter().map(|range| {
        let protocol = NftProtocol(range.protocol.number());
        Element::new((protocol, range.first)).to((protocol, range.last))
    });
    let set = Set::new(name.clone(), [DataType::InetProto, DataType::InetService]);
    // A hash is quicker than an interval set where single ports are all there is.
    let set = if merged.iter().all(|range| range.first == range.last) { set } else { set.interval() };
    ruleset.set(set, elements);
    name
}

/// The same ports as ranges that are ordered and disjoint.
fn merge(ports: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if last.protocol == range.protocol && range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Protocol;

    fn tcp(first: u16, last: u16) -> PortRange {
        PortRange { protocol: Protocol::Tcp, first, last }
    }

    #[test]
    fn overlapping_and_touching_ranges_become_one() {
        assert_eq!(merge(&[tcp(85, 95), tcp(80, 90), tcp(96, 96), tcp(98, 99)]), [tcp(80, 96), tcp(98, 99)]);
    }

    #[test]
    fn a_range_within_another_disappears() {
        assert_eq!(merge(&[tcp(0, 65535), tcp(80, 80)]), [tcp(0, 65535)]);
    }

    #[test]
    fn protocols_stay_apart() {
        let udp = PortRange { protocol: Protocol::Udp, first: 81, last: 81 };
        assert_eq!(merge(&[udp, tcp(80, 80)]), [tcp(80, 80), udp]);
    }
}
