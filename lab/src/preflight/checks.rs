//! The trial of links, settings and sockets, in scratch namespaces that vanish with it.

use std::io;
use std::net::Ipv4Addr;

use netpol_nft::{
    Chain, ChainType, Connection, CtState, DataType, Element, Hook, Policy, Rule, Set, Table, Transaction,
};
use netpol_nft::{Verdict, priority};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{Failure, Operation};
use crate::namespaces::NetNs;
use crate::net::addresses::Family;
use crate::net::links::Links;
use crate::net::sysctl;

/// Tries what the network of the lab needs; the first thing that is refused.
pub(crate) fn network(rootless: bool) -> Result<(), Failure> {
    let mut trying = Operation::NetworkNamespace;
    let tried = NetNs::create(|| try_each(&mut trying));
    tried.map(drop).map_err(|error| Failure::new(trying, &error, rootless))
}

fn try_each(trying: &mut Operation) -> io::Result<()> {
    let mut links = Links::open()?;
    *trying = Operation::Bridge;
    links.add_bridge("br0")?;
    *trying = Operation::NetworkNamespace;
    let here = NetNs::current()?;
    let (there, _) = NetNs::create(|| Ok(()))?;
    *trying = Operation::Veth;
    let link = links.add_veth("veth0", &here, "veth1", None)?;
    *trying = Operation::MoveLink;
    links.move_to(link, &there)?;
    *trying = Operation::IpForward;
    sysctl::routing(&[Family::V4])?;
    *trying = Operation::PingGroupRange;
    sysctl::pod()?;
    *trying = Operation::PacketSocket;
    socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    *trying = Operation::Nftables;
    Connection::open().and_then(|mut nft| nft.apply(&scratch_table())).map_err(io::Error::other)
}

/// One of each thing that enforcers and the lab itself use: conntrack states, a verdict map, an interval set, NAT.
fn scratch_table() -> Transaction {
    let mut scratch = Transaction::new(Table::inet("netpol-preflight"));
    let dispatch = Set::verdict_map("dispatch", [DataType::Ipv4Addr]);
    let peers = Set::new("peers", [DataType::Ipv4Addr]).interval();
    let block = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
    scratch.add_table();
    scratch.add_chain(Chain::base("forward", ChainType::Filter, Hook::Forward, priority::FILTER, Policy::Accept));
    scratch.add_chain(Chain::base("srcnat", ChainType::Nat, Hook::Postrouting, priority::SRCNAT, Policy::Accept));
    scratch.add_set(dispatch.clone());
    scratch.add_set(peers.clone());
    scratch.add_elements(&dispatch, [Element::new(Ipv4Addr::LOCALHOST).verdict(Verdict::Drop)]);
    scratch.add_elements(&peers, [Element::from(block)]);
    scratch.add_rule("forward", Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept());
    scratch.add_rule("forward", Rule::new().ip_saddr_in("peers").accept());
    scratch.add_rule("forward", Rule::new().ip_daddr_vmap("dispatch"));
    scratch.add_rule("srcnat", Rule::new().masquerade());
    scratch
}
