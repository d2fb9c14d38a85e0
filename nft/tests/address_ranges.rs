//! Ranges made from overlapping CIDRs with holes, against a matcher that simply asks each block (P10, P11).

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netpol_nft::AddressRanges;
use proptest::collection::vec;
use proptest::prelude::*;

/// A CIDR with what its `except` takes out.
type Block = (IpNet, Vec<IpNet>);

fn matches(blocks: &[Block], address: IpAddr) -> bool {
    blocks
        .iter()
        .any(|(cidr, excepts)| cidr.contains(&address) && !excepts.iter().any(|except| except.contains(&address)))
}

/// CIDRs that crowd at the low and the high end of the space, so that they overlap, touch, and reach its limits.
fn cidr() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<bool>(), any::<u8>(), prop_oneof![Just(0), 22u8..=32]).prop_map(|(high, bits, length)| {
        let base = if high { u32::MAX - 1023 } else { 0 };
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(base | u32::from(bits) << 2), length).unwrap())
    });
    let v6 = (any::<bool>(), any::<u8>(), prop_oneof![Just(0), 118u8..=128]).prop_map(|(high, bits, length)| {
        let base = if high { u128::MAX - 1023 } else { 0 };
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(base | u128::from(bits) << 2), length).unwrap())
    });
    prop_oneof![v4, v6]
}

/// Every address at which anything can change, and its neighbours.
fn edges(blocks: &[Block]) -> Vec<IpAddr> {
    let nets = blocks.iter().flat_map(|(cidr, excepts)| std::iter::once(cidr).chain(excepts));
    nets.flat_map(|net| [net.network(), net.broadcast()])
        .flat_map(|address| match address {
            IpAddr::V4(address) => [u32::wrapping_sub, u32::wrapping_add]
                .into_iter()
                .flat_map(|step| (0..=1).map(move |by| Ipv4Addr::from_bits(step(address.to_bits(), by)).into()))
                .collect::<Vec<IpAddr>>(),
            IpAddr::V6(address) => [u128::wrapping_sub, u128::wrapping_add]
                .into_iter()
                .flat_map(|step| (0..=1).map(move |by| Ipv6Addr::from_bits(step(address.to_bits(), by)).into()))
                .collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn hold_the_addresses_of_their_blocks_and_no_other(
        blocks in vec((cidr(), vec(cidr(), 0..4)), 0..6),
        samples in vec(any::<u16>(), 16),
    ) {
        let mut ranges = AddressRanges::new();
        blocks.iter().for_each(|(cidr, excepts)| ranges.insert_block(*cidr, excepts.iter().copied()));
        let near = samples.iter().map(|sample| Ipv4Addr::from_bits(u32::from(*sample)).into());
        for address in edges(&blocks).into_iter().chain(near) {
            prop_assert_eq!(ranges.contains(address), matches(&blocks, address), "{}", address);
            let listed = match address {
                IpAddr::V4(address) => ranges.v4().any(|range| range.contains(&address)),
                IpAddr::V6(address) => ranges.v6().any(|range| range.contains(&address)),
            };
            prop_assert_eq!(listed, matches(&blocks, address), "{}", address);
        }
    }

    #[test]
    fn are_sorted_disjoint_and_as_long_as_possible(blocks in vec((cidr(), vec(cidr(), 0..4)), 0..6)) {
        let mut ranges = AddressRanges::new();
        blocks.iter().for_each(|(cidr, excepts)| ranges.insert_block(*cidr, excepts.iter().copied()));
        let v4: Vec<_> = ranges.v4().map(|range| (range.start().to_bits(), range.end().to_bits())).collect();
        prop_assert!(v4.iter().all(|(from, to)| from <= to));
        prop_assert!(v4.windows(2).all(|pair| u64::from(pair[0].1) + 1 < u64::from(pair[1].0)));
        let v6: Vec<_> = ranges.v6().map(|range| (range.start().to_bits(), range.end().to_bits())).collect();
        prop_assert!(v6.iter().all(|(from, to)| from <= to));
        prop_assert!(v6.windows(2).all(|pair| pair[0].1 < u128::MAX && pair[0].1 + 1 < pair[1].0));
    }

    #[test]
    fn do_not_depend_on_order(mut cidrs in vec(cidr(), 0..8)) {
        let forth: AddressRanges = cidrs.iter().copied().collect();
        cidrs.reverse();
        prop_assert_eq!(forth, cidrs.into_iter().collect());
    }
}

#[test]
fn cover_both_families_whole() {
    let mut ranges: AddressRanges =
        ["0.0.0.0/0", "::/0"].map(|cidr| cidr.parse::<IpNet>().unwrap()).into_iter().collect();
    assert_eq!(ranges.v4().collect::<Vec<_>>(), [Ipv4Addr::UNSPECIFIED..=Ipv4Addr::BROADCAST]);
    assert_eq!(ranges.v6().collect::<Vec<_>>(), [Ipv6Addr::UNSPECIFIED..=Ipv6Addr::from_bits(u128::MAX)]);
    ranges.remove("255.255.255.255/32".parse().unwrap());
    ranges.remove("0.0.0.0/32".parse().unwrap());
    ranges.remove("::/0".parse().unwrap());
    assert_eq!(ranges.v4().collect::<Vec<_>>(), [Ipv4Addr::new(0, 0, 0, 1)..=Ipv4Addr::new(255, 255, 255, 254)]);
    assert_eq!(ranges.v6().count(), 0);
}

#[test]
fn an_except_does_not_reach_into_another_block() {
    let mut ranges = AddressRanges::new();
    ranges.insert_block("10.1.0.0/16".parse().unwrap(), []);
    ranges.insert_block("10.0.0.0/8".parse().unwrap(), ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(ranges, ["10.9.8.7/8".parse().unwrap()].into_iter().collect());
}

#[test]
fn neighbours_become_one() {
    let halves = ["10.128.0.0/9", "10.0.0.0/9", "fd00::/9", "fd80::/9", "255.255.255.255/32", "255.255.255.254/32"];
    let ranges: AddressRanges = halves.iter().map(|half| half.parse().unwrap()).collect();
    assert_eq!(
        ranges.v4().map(|range| range.end().to_string()).collect::<Vec<_>>(),
        ["10.255.255.255", "255.255.255.255"]
    );
    assert_eq!(ranges.v6().count(), 1);
}
