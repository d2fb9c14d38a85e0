//! The node in the scratch namespace: an interface per pod, an uplink, and at the other ends nothing but packet sockets.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use netlink_packet_route::route::RouteScope;
use netpol_oracle::Family;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::place::{SLOTS, local_address, node_address};
use crate::scratch::{Namespace, Packets, packet_socket};

/// The interface that leads out.
pub(crate) const UPLINK: &str = "eth0";

/// The other ends of the node's interfaces.
pub(crate) struct Ends {
    /// Keeps the interfaces' other ends.
    pub(crate) far: Namespace,
    /// Sends frames into the node by the interface of a slot.
    pub(crate) slots: Vec<OwnedFd>,
    /// Sends frames into the node by its uplink.
    pub(crate) uplink: OwnedFd,
}

/// The hardware address of the node's interfaces, all of them.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn interface(slot: u8) -> String {
    format!("pod{slot}")
}

/// Turns the calling thread's namespace into the node.
pub(crate) fn node() -> Ends {
    let far = Namespace::new();
    // Nobody but the test speaks there.
    far.run(|| sysctl("ipv6/conf/all/disable_ipv6", "1"));
    for (name, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
    ] {
        sysctl(name, value);
    }
    let names: Vec<String> = (0..SLOTS).map(interface).chain([UPLINK.to_owned()]).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (connection, links, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        let loopback = up(&links, "lo").await;
        for family in [Family::V4, Family::V6] {
            let address = node_address(0, family);
            links.address().add(loopback, address, width(address)).execute().await.expect("the node's address");
        }
        for name in &names {
            veth(&links, name, &far).await;
        }
        for slot in 0..SLOTS {
            let index = up(&links, &interface(slot)).await;
            for family in [Family::V4, Family::V6] {
                let address = local_address(slot, family);
                route(&links, index, address, width(address)).await;
            }
        }
        let index = up(&links, UPLINK).await;
        route(&links, index, Ipv4Addr::UNSPECIFIED.into(), 0).await;
        route(&links, index, Ipv6Addr::UNSPECIFIED.into(), 0).await;
    });
    let mut sockets = far.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (connection, links, _) = rtnetlink::new_connection().expect("a netlink socket");
            tokio::spawn(connection);
            let mut sockets = Vec::new();
            for name in &names {
                let index = up(&links, name).await;
                sockets.push(packet_socket(Packets::FramesBy(index)).expect("a packet socket"));
            }
            sockets
        })
    });
    let uplink = sockets.pop().expect("the uplink is the last");
    Ends { far, slots: sockets, uplink }
}

/// Sets what no namespace has by itself; a name that the kernel does not have is an error.
pub(crate) fn sysctl(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|error| panic!("setting net/{name}: {error}"));
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A pair of interfaces of the same name, here and in the other namespace. Without ARP nobody asks who has an address.
async fn veth(links: &Handle, name: &str, far: &Namespace) {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(name).setns_by_fd(far.as_fd().as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .address(MAC.to_vec())
        .arp(false)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    links.link().add(pair).execute().await.expect("a veth pair");
}

/// Brings a link up and returns its index.
async fn up(links: &Handle, name: &str) -> u32 {
    let found = links.link().get().match_name(name.to_owned()).execute().try_next().await.expect("a link");
    let index = found.expect("a link of that name").header.index;
    links.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.expect("the link comes up");
    index
}

async fn route(links: &Handle, index: u32, to: IpAddr, length: u8) {
    let route = RouteMessageBuilder::<IpAddr>::new().output_interface(index).scope(RouteScope::Link);
    let route = route.destination_prefix(to, length).expect("a destination");
    links.route().add(route.build()).execute().await.expect("a route");
}
