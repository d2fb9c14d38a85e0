//! Links, addresses and routes over rtnetlink: a blocking socket per namespace, one request at a time.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::namespaces::NetNs;

/// Index of the loopback device in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// An rtnetlink socket of the namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Links {
    socket: Socket,
    sequence: u32,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    /// To a neighbour on a link.
    Gateway(IpAddr),
    /// Straight out of the link with this index.
    Link(u32),
}

impl Links {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Links> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Links { socket, sequence: 0 })
    }

    /// Adds a bridge and brings it up; its index.
    pub(crate) fn add_bridge(&mut self, name: &str) -> io::Result<u32> {
        let mut bridge = link(name);
        bridge.header.flags = LinkFlags::Up;
        bridge.header.change_mask = LinkFlags::Up;
        // Neighbour discovery is multicast: every port hears it, and nobody has to join first.
        let options = InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)]);
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(options)];
        bridge.attributes.push(LinkAttribute::LinkInfo(info));
        self.change(RouteNetlinkMessage::NewLink(bridge), NLM_F_CREATE | NLM_F_EXCL)?;
        self.index(name)
    }

    /// Adds a veth pair: `name` here and up, as a port of the bridge `port_of` if given; `peer_name` in `peer`, down.
    /// The index of the end that is here.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        peer: &NetNs,
        peer_name: &str,
        port_of: Option<u32>,
    ) -> io::Result<u32> {
        let mut far = link(peer_name);
        far.attributes.push(LinkAttribute::NetNsFd(peer.raw_fd()));
        let mut near = link(name);
        near.header.flags = LinkFlags::Up;
        near.header.change_mask = LinkFlags::Up;
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        near.attributes.extend(port_of.map(LinkAttribute::Controller));
        self.change(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)?;
        self.index(name)
    }

    /// The index of the link `name`.
    pub(crate) fn index(&mut self, name: &str) -> io::Result<u32> {
        match self.request(RouteNetlinkMessage::GetLink(link(name)), 0)? {
            Some(RouteNetlinkMessage::NewLink(found)) => Ok(found.header.index),
            other => Err(io::Error::other(format!("the kernel answered the question for link {name} with {other:?}"))),
        }
    }

    /// Brings a link up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Moves a link into another namespace.
    pub(crate) fn move_to(&mut self, index: u32, netns: &NetNs) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::NetNsFd(netns.raw_fd()));
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Deletes a link (and with one end of a veth pair the other).
    pub(crate) fn delete(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.change(RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Gives a link an address and the network that goes with its prefix length.
    pub(crate) fn add_address(&mut self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        // Nobody else has it: it is usable at once.
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route to the main table.
    pub(crate) fn add_route(&mut self, destination: IpNet, via: Via) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination.addr());
        message.header.destination_prefix_length = destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Universe;
        if destination.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(destination.addr().into()));
        }
        match via {
            Via::Gateway(gateway) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
            Via::Link(index) => {
                message.header.scope = RouteScope::Link;
                message.attributes.push(RouteAttribute::Oif(index));
            }
        }
        self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, flags | NLM_F_ACK).map(drop)
    }

    /// Sends one request; the object that the kernel answers with, or nothing for an acknowledgement.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                NetlinkPayload::InnerMessage(object) => Ok(Some(object)),
                other => Err(io::Error::other(format!("unexpected answer of the kernel: {other:?}"))),
            };
        }
    }
}

fn link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
