//! The MTU that pods can use: that of the interface by which the node talks to the other nodes, since nothing is
//! encapsulated on the way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;
use rtnetlink::Handle;

use super::problems::Problem;
use super::routes::problem;

/// The smallest MTU of the interfaces that carry the node's addresses.
pub(super) async fn of_addresses(links: &Handle, addresses: &[IpAddr]) -> Result<u32, Problem> {
    let mut indices = BTreeSet::new();
    let mut listed = links.address().get().execute();
    while let Some(address) = listed.try_next().await.map_err(|error| problem("list the node's addresses", &error))? {
        let carries = address.attributes.iter().any(|attribute| match attribute {
            AddressAttribute::Address(address) | AddressAttribute::Local(address) => addresses.contains(address),
            _ => false,
        });
        if carries {
            indices.insert(address.header.index);
        }
    }
    let mut smallest = None;
    let mut listed = links.link().get().execute();
    while let Some(link) = listed.try_next().await.map_err(|error| problem("list the node's links", &error))? {
        let mtu = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        if indices.contains(&link.header.index) {
            smallest = smallest.into_iter().chain(mtu).min();
        }
    }
    smallest.ok_or_else(|| Problem::Mtu { addresses: addresses.to_vec() })
}
