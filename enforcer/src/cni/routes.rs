//! Routes to the pods of other nodes, in the kernel's main table. Ours are told by their protocol number; no other route
//! is ever changed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::problems::Problem;

/// The protocol number (`rtm_protocol`) of our routes, one that no well-known routing program uses: `ip route show
/// proto 118` shows them.
pub const PROTOCOL: u8 = 118;

/// Makes the kernel have these routes of ours and no others. Returns how many it changed, and what it could not.
pub async fn reconcile(links: &Handle, wanted: &BTreeMap<IpNet, IpAddr>) -> (usize, Vec<Problem>) {
    let present = match present(links).await {
        Ok(present) => present,
        Err(error) => return (0, vec![problem("list the node's routes", &error)]),
    };
    let (mut changes, mut problems) = (0, Vec::new());
    for (to, via) in wanted {
        let known = present.get(to);
        if known.is_some_and(|gateways| gateways == &[Some(*via)]) {
            continue;
        }
        let request = links.route().add(message(*to, Some(*via)));
        // Ours is replaced in one step, so that no packet is lost; somebody else's never is.
        let request = if known.is_some() { request.replace() } else { request };
        match request.execute().await {
            Ok(()) => changes += 1,
            Err(error) => problems.push(match errno(&error) {
                Some(libc::EEXIST) => Problem::ForeignRoute { to: *to },
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Problem::NoNeighbour { to: *to, via: *via },
                _ => problem(&format!("add the route to {to} via {via}"), &error),
            }),
        }
    }
    for (to, gateways) in present {
        // After a replacement there is one that is wanted, and at most others that are not.
        let keep = wanted.get(&to).copied().map(Some);
        for via in gateways.into_iter().filter(|via| Some(*via) != keep) {
            match links.route().del(message(to, via)).execute().await {
                Ok(()) => changes += 1,
                // Replaced above, or gone meanwhile.
                Err(error) if errno(&error) == Some(libc::ESRCH) => {}
                Err(error) => problems.push(problem(&format!("delete the route to {to}"), &error)),
            }
        }
    }
    (changes, problems)
}

/// Whether the node has a pod: `ptp` makes a host route for each. What cannot be listed counts as none; [`reconcile`] tells.
pub(super) async fn lead_to_pods(links: &Handle, own: &[IpNet]) -> bool {
    for request in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
        let mut routes = links.route().get(request).execute();
        while let Ok(Some(route)) = routes.try_next().await {
            let to = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(address) => address_of(address),
                _ => None,
            });
            let is_host = |to: &IpAddr| IpNet::from(*to).prefix_len() == route.header.destination_prefix_length;
            let of_pod = |to: IpAddr| own.iter().any(|cidr| cidr.contains(&to));
            if route.header.kind == RouteType::Unicast && to.filter(is_host).is_some_and(of_pod) {
                return true;
            }
        }
    }
    false
}

/// Our routes, each with its gateways.
async fn present(links: &Handle) -> Result<BTreeMap<IpNet, Vec<Option<IpAddr>>>, rtnetlink::Error> {
    let mut found: BTreeMap<IpNet, Vec<Option<IpAddr>>> = BTreeMap::new();
    let requests = [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    for request in requests {
        let family = request.header.address_family;
        let mut routes = links.route().get(request).execute();
        while let Some(route) = routes.try_next().await? {
            // A kernel without IPv6 answers the question for its routes with those that it has.
            if let Some((to, via)) = ours(&route).filter(|_| route.header.address_family == family) {
                found.entry(to).or_default().push(via);
            }
        }
    }
    Ok(found)
}

/// Where a route of ours leads and by whom; none for others.
fn ours(route: &RouteMessage) -> Option<(IpNet, Option<IpAddr>)> {
    let header = &route.header;
    let (mut table, mut to, mut via) = (header.table.into(), None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => to = address_of(address),
            RouteAttribute::Gateway(address) => via = address_of(address),
            _ => {}
        }
    }
    let to = to.or_else(|| match header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    let is_ours = header.protocol == RouteProtocol::from(PROTOCOL)
        && header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN);
    is_ours.then(|| IpNet::new(to, header.destination_prefix_length).ok().map(|net| (net, via))).flatten()
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn message(to: IpNet, via: Option<IpAddr>) -> RouteMessage {
    let protocol = RouteProtocol::from(PROTOCOL);
    let mut message = match to {
        IpNet::V4(to) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.network(), to.prefix_len());
            route.protocol(protocol).build()
        }
        IpNet::V6(to) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to.network(), to.prefix_len());
            route.protocol(protocol).build()
        }
    };
    message.attributes.extend(via.map(|via| RouteAttribute::Gateway(via.into())));
    message
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| code.get().abs()),
        _ => None,
    }
}

pub(super) fn problem(doing: &str, error: &rtnetlink::Error) -> Problem {
    Problem::Kernel { doing: doing.to_owned(), error: error.to_string() }
}
