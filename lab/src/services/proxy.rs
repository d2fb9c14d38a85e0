//! The lab's kube-proxy: every change of Services or EndpointSlices becomes one transaction on each node.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netpol_nft::conntrack::{Conntrack, Filter as Connections, TupleProtocol};
use netpol_nft::{Connection, Protocol, Ruleset};

use super::backends::{Backend, translated};
use super::difference::difference;
use super::ruleset::ruleset;
use crate::api::resources::{ENDPOINT_SLICE, SERVICE};
use crate::api::{Filter, From, Status, Store};
use crate::nodes::Node;

/// A node with the connection to its kernel's rules.
#[derive(Debug)]
pub(crate) struct ProxiedNode {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pod_cidrs: Vec<IpNet>,
    connection: Connection,
    conntrack: Conntrack,
    held: Option<Ruleset>,
    /// Who answered for Services over UDP.
    datagrams: BTreeSet<Backend>,
}

impl ProxiedNode {
    /// Opens the node's connection and writes the rules that it has without any Service.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(crate) fn open(node: &Node) -> io::Result<ProxiedNode> {
        let (connection, conntrack) = node.net.netns.run(|| {
            let connection = Connection::open().map_err(io::Error::other)?;
            Ok((connection, Conntrack::open().map_err(io::Error::other)?))
        })?;
        let (addresses, pod_cidrs) = (node.net.addresses.clone(), node.net.pod_cidrs.clone());
        let name = node.name.clone();
        let mut opened =
            ProxiedNode { name, addresses, pod_cidrs, connection, conntrack, held: None, datagrams: BTreeSet::new() };
        let empty = ruleset(&[], &opened);
        opened.hold(empty).map_err(io::Error::other)?;
        Ok(opened)
    }

    fn hold(&mut self, wanted: Ruleset) -> Result<(), netpol_nft::Error> {
        let change = difference(self.held.as_ref(), &wanted);
        self.connection.apply(&change)?;
        self.held = Some(wanted);
        Ok(())
    }

    /// Forgets the UDP connections that were translated to backends that are none any more. Their clients may go on sending
    /// from the same port for ever, to nobody; TCP ends by itself.
    fn forget_gone(&mut self, now: BTreeSet<Backend>) -> Result<(), netpol_nft::Error> {
        let gone: BTreeSet<Backend> = self.datagrams.difference(&now).cloned().collect();
        if !gone.is_empty() {
            let of_udp = Connections { protocol: Some(Protocol::UDP), ..Connections::default() };
            for entry in self.conntrack.list(&of_udp)? {
                // The backend is who answers; where it is whom the client asked, nothing was translated.
                let TupleProtocol::Ports { source: port, .. } = entry.reply.protocol else { continue };
                let answers = Backend { address: entry.reply.source, port };
                if entry.original.destination != entry.reply.source && gone.contains(&answers) {
                    self.conntrack.delete(&entry)?;
                }
            }
        }
        self.datagrams = now;
        Ok(())
    }
}

/// Keeps the rules of all nodes.
///
/// # Errors
/// If the watches fall too far behind the changes, or a node's kernel refuses a change.
pub(crate) async fn keep_translating(store: Store, mut nodes: Vec<ProxiedNode>) -> Result<(), Status> {
    let mut services = store.watch(SERVICE, Filter::default(), From::Now)?;
    let mut slices = store.watch(ENDPOINT_SLICE, Filter::default(), From::Now)?;
    loop {
        tokio::select! {
            event = services.next() => drop(event?),
            event = slices.next() => drop(event?),
        }
        while services.try_next()?.is_some() {}
        while slices.try_next()?.is_some() {}
        let store = store.clone();
        // The kernel takes a while over large changes.
        let applied = tokio::task::spawn_blocking(move || apply(&store, &mut nodes).map(|()| nodes));
        nodes = applied.await.map_err(|error| Status::internal(format!("the proxy failed: {error}")))??;
    }
}

fn apply(store: &Store, nodes: &mut [ProxiedNode]) -> Result<(), Status> {
    let services = store.list(SERVICE, &Filter::default()).items;
    let services: Vec<Service> = services.iter().filter_map(|object| object.parse().ok()).collect();
    let slices = store.list(ENDPOINT_SLICE, &Filter::default()).items;
    let slices: Vec<EndpointSlice> = slices.iter().filter_map(|object| object.parse().ok()).collect();
    let ports = translated(&services, &slices);
    let of_udp = ports.iter().filter(|port| port.protocol == Protocol::UDP);
    let datagrams: BTreeSet<Backend> = of_udp.flat_map(|port| port.backends(None)).collect();
    for node in nodes {
        let wanted = ruleset(&ports, node);
        // After the rules, or the next datagram would be translated likewise.
        if let Err(error) = node.hold(wanted).and_then(|()| node.forget_gone(datagrams.clone())) {
            return Err(Status::internal(format!("the kernel refused the Services of {}: {error}", node.name)));
        }
    }
    Ok(())
}
