//! A node with pods, wired like a cluster's: each pod is a namespace behind a veth and a host route, and the uplink
//! leads to a namespace that stands for the rest of the world, pods of other nodes included.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::scratch::Namespace;

/// Where something can be sent from and to.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    pub(crate) address: Ipv4Addr,
}

/// The address that pods know their node by.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// The node that the calling thread's namespace is: with forwarding on, and an uplink `eth0` to the outside.
pub(crate) fn node() -> Place {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    within(async |links| {
        up(&links, "lo").await;
    });
    Place { namespace: Namespace::current(), address: GATEWAY }
}

/// The rest of the world, behind the node's `eth0`; it answers under this address, which may be that of a pod elsewhere.
pub(crate) fn outside(address: Ipv4Addr) -> Place {
    let namespace = Namespace::new();
    let (here, there) = (Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 2));
    within(async |links| {
        veth(&links, "eth0", &namespace).await;
        let index = up(&links, "eth0").await;
        address_on(&links, index, here, 24).await;
        route(&links, index, Ipv4Addr::new(10, 2, 0, 0), 16, Some(there)).await;
    });
    namespace.run(|| {
        within(async |links| {
            let loopback = up(&links, "lo").await;
            let index = up(&links, "eth0").await;
            address_on(&links, index, there, 24).await;
            address_on(&links, loopback, address, 32).await;
            // Pods are to see the pod's address, not that of the link.
            let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(Ipv4Addr::new(10, 1, 0, 0), 16)
                .gateway(here)
                .output_interface(index);
            route = route.pref_source(address);
            links.route().add(route.build()).execute().await.expect("a route to the pods");
        });
    });
    Place { namespace, address }
}

/// A pod of this node.
pub(crate) fn pod(name: &str, address: Ipv4Addr) -> Place {
    let namespace = Namespace::new();
    within(async |links| {
        veth(&links, name, &namespace).await;
        let index = up(&links, name).await;
        address_on(&links, index, GATEWAY, 32).await;
        route(&links, index, address, 32, None).await;
    });
    namespace.run(|| {
        within(async |links| {
            up(&links, "lo").await;
            let index = up(&links, "eth0").await;
            address_on(&links, index, address, 32).await;
            route(&links, index, GATEWAY, 32, None).await;
            route(&links, index, Ipv4Addr::UNSPECIFIED, 0, Some(GATEWAY)).await;
        });
    });
    Place { namespace, address }
}

/// Speaks route netlink in the thread's namespace.
pub(crate) fn within(work: impl AsyncFnOnce(Handle)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
        tokio::spawn(connection);
        work(handle).await;
    });
}

pub(crate) async fn veth(links: &Handle, name: &str, other: &Namespace) {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_fd(other.as_fd().as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    links.link().add(pair).execute().await.expect("a veth pair");
}

/// Brings a link up and returns its index.
pub(crate) async fn up(links: &Handle, name: &str) -> u32 {
    let found = links.link().get().match_name(name.to_owned()).execute().try_next().await.expect("a link");
    let index = found.expect("a link of that name").header.index;
    let message = LinkUnspec::new_with_index(index).up().build();
    links.link().set(message).execute().await.expect("the link comes up");
    index
}

pub(crate) async fn address_on(links: &Handle, index: u32, address: impl Into<IpAddr>, length: u8) {
    links.address().add(index, address.into(), length).execute().await.expect("an address");
}

/// Adds a route; without a gateway one to a neighbour on the link.
pub(crate) async fn route<A: Into<IpAddr>>(links: &Handle, index: u32, to: A, length: u8, gateway: Option<A>) {
    let route = RouteMessageBuilder::<IpAddr>::new().output_interface(index);
    let mut route = route.destination_prefix(to.into(), length).expect("a destination");
    route = match gateway {
        Some(gateway) => route.gateway(gateway.into()).expect("a gateway of the same family"),
        None => route.scope(RouteScope::Link),
    };
    links.route().add(route.build()).execute().await.expect("a route");
}

/// Makes a pod's link one that leads to a whole network, as that of a bridge does: without a host route to the pod.
pub(crate) async fn bridge(links: &Handle, name: &str, pod: Ipv4Addr) {
    let index = up(links, name).await;
    let host = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(pod, 32).scope(RouteScope::Link);
    links.route().del(host.build()).execute().await.expect("the host route was there");
    route(links, index, Ipv4Addr::new(10, 1, 0, 0), 24, None).await;
}
