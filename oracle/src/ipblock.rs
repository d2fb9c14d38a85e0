//! Blocks of addresses with holes (N29–N31) and what makes one invalid (V10–V13).

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

use crate::invalid::{Cause, Complaints};

/// The addresses of `cidr` less those of `except` (N29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IpBlock {
    cidr: IpNet,
    except: Vec<IpNet>,
}

/// Where an address stands to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    Within,
    /// Within the cidr and in the hole of this index. The hole trims this block alone (N30).
    Excepted(usize),
    Without,
}

impl IpBlock {
    pub(crate) fn membership(&self, address: IpAddr) -> Membership {
        if !contains(self.cidr, address) {
            return Membership::Without;
        }
        match self.except.iter().position(|hole| contains(*hole, address)) {
            Some(index) => Membership::Excepted(index),
            None => Membership::Within,
        }
    }

    /// Whether its addresses are IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        matches!(self.cidr, IpNet::V6(_))
    }

    /// Reads a block at `field`, adding to `complaints` what is wrong with it; none where it has no meaning.
    pub(crate) fn compile(block: &IPBlock, field: &str, complaints: &mut Complaints) -> Option<Self> {
        let place = format!("{field}.cidr");
        if block.cidr.is_empty() {
            complaints.add(10, Cause::FieldValueRequired, &place, "a cidr is missing".to_owned());
            return None;
        }
        let cidr = parse(&block.cidr);
        if cidr.is_none() {
            let what = format!("'{}' is not a CIDR such as 10.0.0.0/8", block.cidr);
            complaints.add(11, Cause::FieldValueInvalid, &place, what);
        }
        let mut except = Vec::new();
        for (index, text) in block.except.iter().flatten().enumerate() {
            let place = format!("{field}.except[{index}]");
            let Some(hole) = parse(text) else {
                let what = format!("'{text}' is not a CIDR such as 10.0.0.0/8");
                complaints.add(12, Cause::FieldValueInvalid, &place, what);
                continue;
            };
            // A strict subset: neither outside, nor equal, nor wider (V13). `IpNet::contains` is false across families.
            if cidr.is_some_and(|cidr| cidr == hole || !cidr.contains(&hole)) {
                let what = format!("'{text}' is not a strict subset of cidr '{}'", block.cidr);
                complaints.add(13, Cause::FieldValueInvalid, &place, what);
            }
            except.push(hole);
        }
        cidr.map(|cidr| IpBlock { cidr, except })
    }
}

/// Host bits beyond the prefix are masked, as servers before 1.36 accept them.
fn parse(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|net| net.trunc())
}

/// By comparison of the leading bits; never across families.
fn contains(net: IpNet, address: IpAddr) -> bool {
    let bits = |wide: u128, prefix: u8, width: u8| wide.checked_shr(u32::from(width - prefix)).unwrap_or(0);
    match (net, address) {
        (IpNet::V4(net), IpAddr::V4(address)) => {
            let (net_bits, address_bits) = (u32::from(net.network()), u32::from(address));
            bits(net_bits.into(), net.prefix_len(), 32) == bits(address_bits.into(), net.prefix_len(), 32)
        }
        (IpNet::V6(net), IpAddr::V6(address)) => {
            bits(u128::from(net.network()), net.prefix_len(), 128) == bits(u128::from(address), net.prefix_len(), 128)
        }
        _ => false,
    }
}
