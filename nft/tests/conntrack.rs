//! The kernel's table of connections, with real ones over loopback.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scratch;

#[path = "loopback/bring_up.rs"]
mod bring_up;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use bring_up::bring_up;
use netpol_nft::conntrack::{Conntrack, Entry, Filter, TupleProtocol};
use netpol_nft::{Chain, ChainType, Connection, CtState, Hook, Policy, Protocol, Rule, Ruleset, Table, priority};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use scratch::in_scratch_namespace;

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Tracks connections, marks those to port 2000, and translates the service's address to the second.
fn track() {
    bring_up();
    let mut ruleset = Ruleset::new(Table::inet("scratch"));
    ruleset.chain(
        Chain::base("output", ChainType::Filter, Hook::Output, priority::FILTER, Policy::Accept),
        [
            Rule::new().ct_state(&[CtState::Invalid]).drop(),
            Rule::new().l4proto(Protocol::UDP).dport(2000).set_ct_mark(7),
        ],
    );
    ruleset.chain(
        Chain::base("nat", ChainType::Nat, Hook::Output, priority::DSTNAT, Policy::Accept),
        [Rule::new().ip_daddr(Ipv4Addr::new(127, 0, 0, 9)).dnat(TWO, None)],
    );
    Connection::open().unwrap().apply(&ruleset.load()).unwrap();
}

/// Sends a datagram; its source port tells the connection.
fn udp(from: IpAddr, to: IpAddr, port: u16) -> u16 {
    let sender = UdpSocket::bind((from, 0)).unwrap();
    sender.send_to(b"probe", (to, port)).unwrap();
    sender.local_addr().unwrap().port()
}

/// Sends an echo request, which needs CAP_NET_RAW in the namespace.
fn ping(to: Ipv4Addr, id: u16) {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    let mut message = [8, 0, 0, 0, 0, 0, 0, 1];
    message[4..6].copy_from_slice(&id.to_be_bytes());
    let checksum = !(0x0800u16 + id + 1);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    sendto(&socket, &message, SendFlags::empty(), &SocketAddr::from((to, 0))).unwrap();
}

fn source_port(entry: &Entry) -> Option<u16> {
    match entry.original.protocol {
        TupleProtocol::Ports { source, .. } => Some(source),
        _ => None,
    }
}

#[test]
fn connections_are_listed_by_address_protocol_zone_and_mark() {
    in_scratch_namespace("connections_are_listed_by_address_protocol_zone_and_mark", || {
        track();
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.list(&Filter::default()).unwrap(), []);
        let marked = udp(ONE, TWO, 2000);
        let plain = udp(ONE, ONE, 2001);
        let translated = udp(ONE, SERVICE, 2002);
        let v6 = udp(SIX, SIX, 2003);
        let listener = TcpListener::bind((TWO, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let tcp = stream.local_addr().unwrap().port();
        ping(Ipv4Addr::new(127, 0, 0, 2), 99);

        let mut ports = |filter: Filter| {
            let mut ports: Vec<_> = conntrack.list(&filter).unwrap().iter().filter_map(source_port).collect();
            ports.sort_unstable();
            ports
        };
        let sorted = |mut ports: Vec<u16>| {
            ports.sort_unstable();
            ports
        };
        // The errors that unheard datagrams cause are related, not connections of their own.
        assert_eq!(ports(Filter::default()), sorted(vec![marked, plain, translated, v6, tcp]));
        assert_eq!(ports(Filter::address(TWO)), sorted(vec![marked, translated, tcp]));
        assert_eq!(ports(Filter::address(SERVICE)), [translated]);
        assert_eq!(ports(Filter::address(SIX)), [v6]);
        assert_eq!(ports(Filter { mark: Some(7), ..Filter::default() }), [marked]);
        assert_eq!(ports(Filter { protocol: Some(Protocol::TCP), ..Filter::address(TWO) }), [tcp]);
        assert_eq!(ports(Filter { zone: Some(0), ..Filter::address(SIX) }), [v6]);
        assert_eq!(ports(Filter { zone: Some(1), ..Filter::default() }), []);
        assert_eq!(ports(Filter::address("192.0.2.1".parse().unwrap())), []);

        let icmp = conntrack.list(&Filter { protocol: Some(Protocol::ICMP), ..Filter::default() }).unwrap();
        let identifiers: Vec<_> = icmp.iter().map(|entry| entry.original.protocol).collect();
        assert_eq!(identifiers, [TupleProtocol::Icmp { protocol: Protocol::ICMP, id: 99, kind: 8, code: 0 }]);
        let [service] = conntrack.list(&Filter::address(SERVICE)).unwrap()[..] else { panic!("one") };
        assert_eq!((service.original.destination, service.reply.source), (SERVICE, TWO));
    });
}

#[test]
fn one_connection_is_forgotten_and_its_neighbours_are_not() {
    in_scratch_namespace("one_connection_is_forgotten_and_its_neighbours_are_not", || {
        track();
        let mut conntrack = Conntrack::open().unwrap();
        let (gone, stays) = (udp(ONE, TWO, 2000), udp(ONE, TWO, 2000));
        ping(Ipv4Addr::new(127, 0, 0, 2), 99);
        let entries = conntrack.list(&Filter::default()).unwrap();
        let entry = *entries.iter().find(|entry| source_port(entry) == Some(gone)).unwrap();
        assert!(conntrack.delete(&entry).unwrap());
        assert!(!conntrack.delete(&entry).unwrap(), "it is gone already");
        let icmp = *entries.iter().find(|entry| source_port(entry).is_none()).unwrap();
        assert!(conntrack.delete(&icmp).unwrap());
        let left: Vec<_> = conntrack.list(&Filter::default()).unwrap().iter().filter_map(source_port).collect();
        assert_eq!(left, [stays]);

        // The same ends again are another connection: what was listed before does not mean it.
        let again = UdpSocket::bind((ONE, gone)).unwrap();
        again.send_to(b"probe", (TWO, 2000)).unwrap();
        assert!(!conntrack.delete(&entry).unwrap());
        assert_eq!(conntrack.list(&Filter::default()).unwrap().len(), 2);
    });
}

#[test]
fn all_connections_of_an_address_are_forgotten() {
    in_scratch_namespace("all_connections_of_an_address_are_forgotten", || {
        track();
        let mut conntrack = Conntrack::open().unwrap();
        let other = udp(ONE, ONE, 2000);
        let [_, _, _] = [udp(ONE, TWO, 2000), udp(TWO, ONE, 2000), udp(ONE, SERVICE, 2000)];
        let v6 = udp(SIX, SIX, 2000);
        ping(Ipv4Addr::new(127, 0, 0, 2), 99);
        let listener = TcpListener::bind((TWO, 0)).unwrap();
        let _stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(conntrack.delete_address(SERVICE).unwrap(), 0, "it stands for another");
        assert_eq!(conntrack.delete_address(TWO).unwrap(), 5);
        assert_eq!(conntrack.delete_address(TWO).unwrap(), 0);
        let mut left: Vec<_> = conntrack.list(&Filter::default()).unwrap().iter().filter_map(source_port).collect();
        left.sort_unstable();
        let mut expected = vec![other, v6];
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(conntrack.delete_address(SIX).unwrap(), 1);
        assert_eq!(conntrack.list(&Filter::default()).unwrap().len(), 1);
    });
}
