//! A node with two pods, each a network namespace behind a veth pair and a host route, as on a real node.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::Context;
use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::sandbox::Namespace;

/// The address that pods know their node by.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// A pod that packets come from and go to.
pub(super) struct Place {
    pub(super) namespace: Namespace,
    pub(super) address: Ipv4Addr,
}

/// The pods of the node that this process's network namespace is.
pub(super) struct Node {
    pub(super) client: Place,
    pub(super) server: Place,
}

impl Node {
    /// Makes the node.
    ///
    /// # Errors
    /// The kernel refuses links, routes or forwarding.
    pub(super) fn new(client: Ipv4Addr, server: Ipv4Addr) -> anyhow::Result<Self> {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switching forwarding on")?;
        within(async |links| up(&links, "lo").await.map(drop))?;
        Ok(Self { client: pod("client", client)?, server: pod("server", server)? })
    }
}

fn pod(name: &str, address: Ipv4Addr) -> anyhow::Result<Place> {
    let namespace = Namespace::new()?;
    within(async |links| {
        veth(&links, name, &namespace).await?;
        let index = up(&links, name).await?;
        links.address().add(index, GATEWAY.into(), 32).execute().await.context("the node's address")?;
        route(&links, index, address, 32, None).await
    })?;
    namespace.run(|| {
        within(async |links| {
            up(&links, "lo").await?;
            let index = up(&links, "eth0").await?;
            links.address().add(index, address.into(), 32).execute().await.context("a pod's address")?;
            route(&links, index, GATEWAY, 32, None).await?;
            route(&links, index, Ipv4Addr::UNSPECIFIED, 0, Some(GATEWAY)).await
        })
    })?;
    Ok(Place { namespace, address })
}

/// Speaks route netlink in the thread's namespace.
fn within(work: impl AsyncFnOnce(Handle) -> anyhow::Result<()>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening a route netlink socket")?;
        tokio::spawn(connection);
        work(handle).await
    })
}

async fn veth(links: &Handle, name: &str, other: &Namespace) -> anyhow::Result<()> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_fd(other.as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    links.link().add(pair).execute().await.context("making a veth pair")
}

/// Brings a link up and returns its index.
async fn up(links: &Handle, name: &str) -> anyhow::Result<u32> {
    let found = links.link().get().match_name(name.to_owned()).execute().try_next().await?;
    let index = found.with_context(|| format!("there is no link {name}"))?.header.index;
    let message = LinkUnspec::new_with_index(index).up().build();
    links.link().set(message).execute().await.with_context(|| format!("bringing {name} up"))?;
    Ok(index)
}

async fn route(links: &Handle, index: u32, to: Ipv4Addr, length: u8, by: Option<Ipv4Addr>) -> anyhow::Result<()> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).destination_prefix(to, length);
    let route = match by {
        Some(gateway) => route.gateway(gateway),
        None => route.scope(RouteScope::Link),
    };
    links.route().add(route.build()).execute().await.with_context(|| format!("a route to {to}/{length}"))
}
