//! Which interfaces lead out of the node. Every other interface is taken for a pod's, and is closed until the pod
//! behind it is programmed (P38, P41): an interface that nobody knows yet must not be open.
//!
//! An uplink is `lo`, or carries a route of the main table that is wider than one host: pods are routed by host routes,
//! the rest of the world is not. Link-local routes do not count, since every interface has one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;

/// Names of interfaces.
pub type Uplinks = BTreeSet<String>;

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
pub async fn follow() -> Result<watch::Receiver<Uplinks>, UplinksError> {
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
                Ok(uplinks) => {
                    sender.send_if_modified(|known| {
                        let changed = *known != uplinks;
                        *known = uplinks;
                        changed
                    });
                }
                Err(error) => tracing::warn!(%error, "the uplinks stay as they were"),
            }
        }
    });
    Ok(receiver)
}

async fn read(handle: &Handle) -> Result<Uplinks, UplinksError> {
    let mut names = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(|source| UplinksError::Dump { what: "links", source })? {
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                names.insert(link.header.index, name);
            }
        }
    }
    let mut uplinks = Uplinks::from(["lo".to_owned()]);
    let dumps = [
        ("IPv4 routes", RouteMessageBuilder::<Ipv4Addr>::new().build()),
        ("IPv6 routes", RouteMessageBuilder::<Ipv6Addr>::new().build()),
    ];
    for (what, request) in dumps {
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await.map_err(|source| UplinksError::Dump { what, source })? {
            uplinks.extend(leads_out(&route).iter().filter_map(|index| names.get(index).cloned()));
        }
    }
    Ok(uplinks)
}

/// The interfaces that a route makes uplinks of.
fn leads_out(route: &RouteMessage) -> Vec<u32> {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let in_main = table.unwrap_or(route.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN);
    let host = if route.header.address_family == AddressFamily::Inet { 32 } else { 128 };
    let on_link_only = route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(net)) => net.is_unicast_link_local() || net.is_multicast(),
        _ => false,
    });
    if !in_main
        || route.header.kind != RouteType::Unicast
        || route.header.destination_prefix_length >= host
        || on_link_only
    {
        return Vec::new();
    }
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect()
}
