//! Sets of addresses as disjoint, sorted ranges, which is what the kernel's interval sets want (P10, P11).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::element::Element;

/// A set of addresses of both families, made from CIDRs that may overlap and have holes.
///
/// The kernel refuses overlapping intervals, and merging them is a feature of the `nft` program alone (P10). Here ranges are
/// always disjoint, sorted, and as long as possible, so that two sets with the same addresses are equal.
///
/// ```
/// use netpol_nft::AddressRanges;
/// let mut peers = AddressRanges::new();
/// peers.insert_block("10.0.0.0/8".parse()?, ["10.1.0.0/16".parse()?]);
/// peers.insert("10.1.1.1/32".parse()?);
/// let ranges: Vec<String> = peers.elements_v4().map(|element| element.to_string()).collect();
/// assert_eq!(ranges, ["10.0.0.0/16", "10.1.1.1", "10.2.0.0-10.255.255.255"]);
/// # Ok::<(), ipnet::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRanges {
    v4: Spans,
    v6: Spans,
}

impl AddressRanges {
    /// No address.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the addresses of a CIDR; bits of its host part are ignored.
    pub fn insert(&mut self, cidr: IpNet) {
        self.spans_mut(cidr).insert(bounds(cidr));
    }

    /// Takes the addresses of a CIDR away.
    pub fn remove(&mut self, cidr: IpNet) {
        self.spans_mut(cidr).remove(bounds(cidr));
    }

    /// Adds the addresses of a CIDR less those of `excepts`. What was in the set before stays: an `except` limits its own
    /// block only (P9).
    pub fn insert_block(&mut self, cidr: IpNet, excepts: impl IntoIterator<Item = IpNet>) {
        let mut block = Self::new();
        block.insert(cidr);
        excepts.into_iter().for_each(|except| block.remove(except));
        self.union(&block);
    }

    /// Adds all addresses of another set.
    pub fn union(&mut self, other: &Self) {
        other.v4.ranges().for_each(|range| self.v4.insert(range));
        other.v6.ranges().for_each(|range| self.v6.insert(range));
    }

    /// Whether the address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits().into()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// Whether there is no address in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    /// The IPv4 ranges, in order.
    pub fn v4(&self) -> impl Iterator<Item = RangeInclusive<Ipv4Addr>> {
        // Bounds of this family came from 32 bits.
        self.v4
            .ranges()
            .map(|range| Ipv4Addr::from_bits(*range.start() as u32)..=Ipv4Addr::from_bits(*range.end() as u32))
    }

    /// The IPv6 ranges, in order.
    pub fn v6(&self) -> impl Iterator<Item = RangeInclusive<Ipv6Addr>> {
        self.v6.ranges().map(|range| Ipv6Addr::from_bits(*range.start())..=Ipv6Addr::from_bits(*range.end()))
    }

    /// The elements of a set of type `ipv4_addr` with intervals.
    pub fn elements_v4(&self) -> impl Iterator<Item = Element> {
        self.v4().map(|range| Element::new(*range.start()).to(*range.end()))
    }

    /// The elements of a set of type `ipv6_addr` with intervals.
    pub fn elements_v6(&self) -> impl Iterator<Item = Element> {
        self.v6().map(|range| Element::new(*range.start()).to(*range.end()))
    }

    fn spans_mut(&mut self, cidr: IpNet) -> &mut Spans {
        match cidr {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        }
    }
}

impl Extend<IpNet> for AddressRanges {
    fn extend<T: IntoIterator<Item = IpNet>>(&mut self, cidrs: T) {
        cidrs.into_iter().for_each(|cidr| self.insert(cidr));
    }
}

impl FromIterator<IpNet> for AddressRanges {
    fn from_iter<T: IntoIterator<Item = IpNet>>(cidrs: T) -> Self {
        let mut ranges = Self::new();
        ranges.extend(cidrs);
        ranges
    }
}

/// The lowest and highest address of a CIDR, as numbers.
fn bounds(cidr: IpNet) -> RangeInclusive<u128> {
    match cidr {
        IpNet::V4(net) => net.network().to_bits().into()..=net.broadcast().to_bits().into(),
        IpNet::V6(net) => net.network().to_bits()..=net.broadcast().to_bits(),
    }
}

/// Disjoint ranges that do not touch: from lowest number to highest, both included.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Spans(BTreeMap<u128, u128>);

impl Spans {
    fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u128>> {
        self.0.iter().map(|(from, to)| *from..=*to)
    }

    fn contains(&self, number: u128) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, to)| number <= *to)
    }

    fn insert(&mut self, range: RangeInclusive<u128>) {
        let (mut from, mut to) = range.into_inner();
        // From the right: every span that overlaps or touches is taken into the new one.
        while let Some((&start, &end)) = self.0.range(..=to.saturating_add(1)).next_back() {
            if end.saturating_add(1) < from {
                break;
            }
            self.0.remove(&start);
            from = from.min(start);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    fn remove(&mut self, range: RangeInclusive<u128>) {
        let (from, to) = range.into_inner();
        while let Some((&start, &end)) = self.0.range(..=to).next_back() {
            if end < from {
                break;
            }
            self.0.remove(&start);
            if to < end {
                self.0.insert(to + 1, end);
            }
            if start < from {
                self.0.insert(start, from - 1);
            }
        }
    }
}
