//! Which interfaces lead out of the node. Every other interface is taken for a pod's, and is closed until the pod
//! behind it is programmed (P38, P41): an interface that nobody knows yet must not be open.
//!
//! An uplink is `lo`, or carries a route of the main table that is wider than one host: pods are routed by host routes,
//! the rest of the world is not. Link-local routes do not count, since every interface has one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;

/// Names of interfaces.
pub type Uplinks = BTreeSet<String>;

/// What the node's links and routes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The interfaces that lead out of the node.
    pub uplinks: Uplinks,
    /// The networks that are neighbours on an uplink, with its name.
    pub on_uplinks: BTreeMap<IpNet, String>,
    /// The hosts that are routed by an interface of their own.
    pub hosts: BTreeSet<IpAddr>,
    /// kube-proxy's device for IPVS is there.
    pub ipvs: bool,
    /// The device of NodeLocal DNSCache is there.
    pub node_local_dns: bool,
}

/// How a pod's address is reached from its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// By a host route over a link that is no uplink.
    OwnLink,
    /// As a neighbour on this uplink: a bridge, or another kind of shared link, over which pods talk to each other unseen (P22).
    Shared(&'a str),
    /// Not at all.
    None,
}

impl Links {
    /// How a pod's address is reached.
    pub fn way(&self, address: IpAddr) -> Way<'_> {
        if self.hosts.contains(&address) {
            return Way::OwnLink;
        }
        let shared = self.on_uplinks.iter().find(|(network, _)| network.contains(&address));
        shared.map_or(Way::None, |(_, name)| Way::Shared(name))
    }

    /// What of the node may make policies stricter than they are meant, and what to do about it.
    pub(crate) fn advice(&self, node_local_dns: &BTreeSet<IpAddr>) -> Vec<String> {
        let cut_off = self.node_local_dns && node_local_dns.is_empty();
        let advice = "NodeLocal DNSCache runs on this node (the device nodelocaldns is there): pods ask an address of the node, which \
                      egress policies that allow the DNS pods do not mean; give its addresses with --node-local-dns";
        cut_off.then(|| advice.to_owned()).into_iter().collect()
    }
}

/// Routes and links could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UplinksError {
    /// The kernel gave no netlink socket.
    #[error("cannot open a route netlink socket: {0}")]
    Socket(#[source] std::io::Error),
    /// A dump failed.
    #[error("cannot list the node's {what}: {source}")]
    Dump {
        /// What was listed.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: rtnetlink::Error,
    },
}

/// Reads the uplinks and keeps them up to date in the background, for as long as the runtime lives. They are read anew
/// after every change of a link or a route, and every ten seconds, because a full socket loses notifications.
pub async fn follow() -> Result<watch::Receiver<Links>, UplinksError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    let (connection, handle, mut news) = rtnetlink::new_multicast_connection(&groups).map_err(UplinksError::Socket)?;
    tokio::spawn(connection);
    let (sender, receiver) = watch::channel(read(&handle).await?);
    tokio::spawn(async move {
        const REREAD: Duration = Duration::from_secs(10);
        loop {
            tokio::select! {
                message = news.next() => if message.is_none() { return },
                () = tokio::time::sleep(REREAD) => {}
            }
            // What has queued up meanwhile is answered by the same dump.
            while let Ok(message) = news.try_recv() {
                drop(message);
            }
            match read(&handle).await {
                Ok(links) => {
                    sender.send_if_modified(|known| {
                        let changed = *known != links;
                        *known = links;
                        changed
                    });
                }
                Err(error) => tracing::warn!(%error, "the uplinks stay as they were"),
            }
        }
    });
    Ok(receiver)
}

async fn read(handle: &Handle) -> Result<Links, UplinksError> {
    let mut names = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(|source| UplinksError::Dump { what: "links", source })? {
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                names.insert(link.header.index, name);
            }
        }
    }
    let mut found = Links {
        uplinks: Uplinks::from(["lo".to_owned()]),
        ipvs: names.values().any(|name| name == "kube-ipvs0"),
        node_local_dns: names.values().any(|name| name == "nodelocaldns"),
        ..Links::default()
    };
    let (mut neighbours, mut hosts) = (Vec::new(), Vec::new());
    let dumps = [
        ("IPv4 routes", RouteMessageBuilder::<Ipv4Addr>::new().build()),
        ("IPv6 routes", RouteMessageBuilder::<Ipv6Addr>::new().build()),
    ];
    for (what, request) in dumps {
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await.map_err(|source| UplinksError::Dump { what, source })? {
            let Some(route) = Route::read(&route, &names) else { continue };
            match route.to {
                to if to.prefix_len() == to.max_prefix_len() => hosts.push(route),
                _ => {
                    found.uplinks.extend(route.by.iter().cloned());
                    neighbours.extend((!route.has_gateway).then_some(route));
                }
            }
        }
    }
    for route in hosts.into_iter().filter(|route| route.by.iter().all(|name| !found.uplinks.contains(name))) {
        found.hosts.insert(route.to.addr());
    }
    for route in neighbours {
        found.on_uplinks.extend(route.by.into_iter().map(|name| (route.to, name)));
    }
    Ok(found)
}

/// A unicast route of the main table, link-local ones left out.
struct Route {
    to: IpNet,
    /// The interfaces by which it leads.
    by: Vec<String>,
    has_gateway: bool,
}

impl Route {
    fn read(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Self> {
        let header = &message.header;
        let mut to: IpAddr = match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (mut table, mut by, mut has_gateway) = (header.table.into(), Vec::new(), false);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Destination(RouteAddress::Inet(address)) => to = (*address).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = (*address).into(),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => has_gateway = true,
                RouteAttribute::Oif(index) => by.extend(names.get(index).cloned()),
                RouteAttribute::MultiPath(hops) => {
                    has_gateway = true;
                    by.extend(hops.iter().filter_map(|hop| names.get(&hop.interface_index).cloned()));
                }
                _ => {}
            }
        }
        let on_link_only = matches!(to, IpAddr::V6(to) if to.is_unicast_link_local() || to.is_multicast());
        let counts =
            table == u32::from(RouteHeader::RT_TABLE_MAIN) && header.kind == RouteType::Unicast && !on_link_only;
        let to = IpNet::new(to, header.destination_prefix_length).ok()?;
        counts.then_some(Self { to, by, has_gateway })
    }
}
