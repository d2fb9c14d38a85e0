//! A node with pods, wired like a cluster's: each pod is a namespace behind a veth and a host route, and the uplink
//! leads to a namespace that stands for the rest of the world, pods of other nodes included.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use netlink_packet_route::address::{AddressHeaderFlags, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, State};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::scratch::Namespace;

/// Where something can be sent from and to.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    pub(crate) address: IpAddr,
}

/// The address family of a stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The address of this family that stands for an IPv4 address: fd00::a.b.c.d.
    pub(crate) fn address(self, v4: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(v4.to_bits())).into(),
        }
    }

    /// The length of a prefix that stands for one of IPv4.
    fn length(self, v4: u8) -> u8 {
        match self {
            Self::V4 => v4,
            Self::V6 => 96 + v4,
        }
    }

    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// A text with its IPv4 addresses and CIDRs in this family, quoted for YAML.
    pub(crate) fn text(self, v4: &str) -> String {
        if self == Self::V4 {
            return v4.to_owned();
        }
        let mut text = String::new();
        let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '/';
        let mut rest = v4;
        while let Some(start) = rest.find(is_part) {
            let (before, from) = rest.split_at(start);
            let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            let (address, length) =
                word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
            text.push_str(before);
            match (address.parse(), length.map(str::parse::<u8>)) {
                (Ok(address), None) => text.push_str(&format!("'{}'", self.address(address))),
                (Ok(address), Some(Ok(length))) => {
                    text.push_str(&format!("'{}/{}'", self.address(address), self.length(length)));
                }
                _ => text.push_str(word),
            }
            rest = after;
        }
        text + rest
    }
}

/// The address that pods know their node by.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// The node that the calling thread's namespace is: with forwarding on, and an uplink `eth0` to the outside.
pub(crate) fn node() -> Place {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forwarding");
    use_addresses_at_once();
    within(async |links| {
        up(&links, "lo").await;
    });
    Place { namespace: Namespace::current(), address: GATEWAY.into() }
}

/// Link-local addresses count without having looked for others with the same, so that neighbours are found at once.
fn use_addresses_at_once() {
    for interfaces in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{interfaces}/accept_dad"), "0").expect("a setting");
    }
}

/// The rest of the world, behind the node's `eth0`; it answers under this address, which may be that of a pod elsewhere.
pub(crate) fn outside(address: impl Into<IpAddr>) -> Place {
    let (namespace, address) = (Namespace::new(), address.into());
    let family = Family::of(address);
    let link = [1, 2].map(|host| family.address(Ipv4Addr::new(192, 168, 0, host)));
    let [here, there] = link;
    namespace.run(use_addresses_at_once);
    within(async |links| {
        veth(&links, "eth0", &namespace).await;
        let index = up(&links, "eth0").await;
        address_on(&links, index, here, family.length(24)).await;
        let pods_elsewhere = family.address(Ipv4Addr::new(10, 2, 0, 0));
        route(&links, index, pods_elsewhere, family.length(16), Some(there)).await;
    });
    namespace.run(|| {
        within(async |links| {
            up(&links, "lo").await;
            let index = up(&links, "eth0").await;
            address_on(&links, index, there, family.length(24)).await;
            address_on(&links, index, address, family.length(32)).await;
            let pods = family.address(Ipv4Addr::new(10, 1, 0, 0));
            let route = RouteMessageBuilder::<IpAddr>::new().output_interface(index);
            let route = route.destination_prefix(pods, family.length(16)).expect("a destination");
            // Pods are to see the pod's address, not that of the link.
            let route = route.gateway(here).expect("a gateway").pref_source(address).expect("a source");
            links.route().add(route.build()).execute().await.expect("a route to the pods");
            carries(&links, "eth0").await;
        });
    });
    within(async |links| carries(&links, "eth0").await);
    Place { namespace, address }
}

/// A pod of this node.
pub(crate) fn pod(name: &str, address: impl Into<IpAddr>) -> Place {
    let (namespace, address) = (Namespace::new(), address.into());
    let family = Family::of(address);
    let (gateway, host) = (family.address(GATEWAY), family.length(32));
    namespace.run(use_addresses_at_once);
    within(async |links| {
        veth(&links, name, &namespace).await;
        let index = up(&links, name).await;
        address_on(&links, index, gateway, host).await;
        route(&links, index, address, host, None).await;
    });
    namespace.run(|| {
        within(async |links| {
            up(&links, "lo").await;
            let index = up(&links, "eth0").await;
            address_on(&links, index, address, host).await;
            route(&links, index, gateway, host, None).await;
            let everywhere = match family {
                Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            };
            route(&links, index, everywhere, 0, Some(gateway)).await;
            carries(&links, "eth0").await;
        });
    });
    within(async |links| carries(&links, name).await);
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

/// Waits until a link carries packets and has the address that neighbours are asked from, at most ten seconds: the kernel gets to
/// both some time after both ends are up, and drops what is sent until then.
pub(crate) async fn carries(links: &Handle, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = links.link().get().match_name(name.to_owned()).execute().try_next().await.expect("a link");
        let link = found.expect("a link of that name");
        let idle = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::OperState(state) => *state != State::Up,
            LinkAttribute::Qdisc(qdisc) => qdisc == "noop",
            _ => false,
        };
        let own = links.address().get().set_link_index_filter(link.header.index).execute();
        let own: Vec<_> = own.try_collect().await.expect("addresses");
        let counts = own.iter().any(|address| {
            address.header.scope == AddressScope::Link && !address.header.flags.contains(AddressHeaderFlags::Tentative)
        });
        if counts && !link.attributes.iter().any(idle) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} carries nothing: {:?} {own:?}", link.attributes);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Adds an address that counts at once, without having looked for others with the same.
pub(crate) async fn address_on(links: &Handle, index: u32, address: impl Into<IpAddr>, length: u8) {
    let mut request = links.address().add(index, address.into(), length);
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.expect("an address");
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
pub(crate) async fn bridge(links: &Handle, name: &str, pod: IpAddr) {
    let index = up(links, name).await;
    let host = RouteMessageBuilder::<IpAddr>::new().destination_prefix(pod, 32).expect("IPv4").scope(RouteScope::Link);
    links.route().del(host.build()).execute().await.expect("the host route was there");
    route(links, index, Ipv4Addr::new(10, 1, 0, 0), 24, None).await;
}
