//! What matches, sets and maps do to real packets.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netpol_nft::{
    AddressRanges, Chain, ChainType, Connection, CtState, DataType, Element, Field, Hook, NfProto, Policy, Protocol,
    Rule, Ruleset, Set, Table, Transaction, Verdict, priority,
};

use crate::loopback::{Receiver, bring_up};
use crate::scratch::in_scratch_namespace;
use crate::{apply, with_rules};

#[test]
fn a_port_is_dropped_and_another_is_not() {
    in_scratch_namespace("filtering::a_port_is_dropped_and_another_is_not", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let (closed, open) = (Receiver::on("127.0.0.1:2000"), Receiver::on("127.0.0.1:2001"));
        assert!(closed.gets("127.0.0.1:2000"));
        apply(&mut connection, &with_rules([Rule::new().l4proto(Protocol::UDP).dport(2000).drop()]));
        assert!(!closed.gets("127.0.0.1:2000"));
        assert!(open.gets("127.0.0.1:2001"));
        apply(&mut connection, &with_rules([Rule::new().l4proto(Protocol::TCP).dport(2000).drop()]));
        assert!(closed.gets("127.0.0.1:2000"));
    });
}

#[test]
fn a_match_on_one_family_leaves_the_other_alone() {
    in_scratch_namespace("filtering::a_match_on_one_family_leaves_the_other_alone", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let (v4, v6) = (Receiver::on("127.0.0.1:2000"), Receiver::on("[::1]:2000"));
        let everything: ipnet::Ipv4Net = "0.0.0.0/0".parse().unwrap();
        apply(&mut connection, &with_rules([Rule::new().ip_daddr(everything).drop()]));
        assert!(!v4.gets("127.0.0.1:2000"));
        assert!(v6.gets("[::1]:2000"));
        let everything: ipnet::Ipv6Net = "::/0".parse().unwrap();
        apply(&mut connection, &with_rules([Rule::new().ip6_saddr(everything).drop()]));
        assert!(v4.gets("127.0.0.1:2000"));
        assert!(!v6.gets("[::1]:2000"));
        apply(&mut connection, &with_rules([Rule::new().nfproto_not(NfProto::Ipv6).drop()]));
        assert!(!v4.gets("127.0.0.1:2000"));
        assert!(v6.gets("[::1]:2000"));
    });
}

#[test]
fn a_concatenated_interval_set_holds_exactly_its_ranges() {
    in_scratch_namespace("filtering::a_concatenated_interval_set_holds_exactly_its_ranges", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let mut ruleset =
            with_rules([Rule::new().l4proto_dport_in("ports").accept(), Rule::new().l4proto(Protocol::UDP).drop()]);
        ruleset.set(
            Set::new("ports", [DataType::InetProto, DataType::InetService]).interval(),
            [
                Element::new((Protocol::UDP, 2000)).to((Protocol::UDP, 2002)),
                Element::new((Protocol::UDP, 65535)),
                Element::new((Protocol::TCP, 0)).to((Protocol::TCP, 65535)),
            ],
        );
        apply(&mut connection, &ruleset);
        for (port, expected) in
            [(1999, false), (2000, true), (2001, true), (2002, true), (2003, false), (65534, false), (65535, true)]
        {
            let address = format!("127.0.0.1:{port}");
            assert_eq!(Receiver::on(&address).gets(&address), expected, "{address}");
        }
    });
}

#[test]
fn an_interval_set_holds_the_addresses_of_its_ranges() {
    in_scratch_namespace("filtering::an_interval_set_holds_the_addresses_of_its_ranges", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let receiver = Receiver::on("0.0.0.0:2000");
        let cases: [(&[&str], &[&str]); 6] = [
            (&["0.0.0.0/0"], &[]),
            (&["0.0.0.0/0"], &["127.0.0.2/32"]),
            (&["127.0.0.0/8", "127.0.0.0/16"], &["127.0.0.0/30"]),
            (&["127.0.0.1/32", "127.0.0.2/32", "127.0.0.4/30"], &[]),
            (&["127.0.0.0/8", "255.255.255.255/32"], &["127.0.0.4/31"]),
            (&["255.255.255.255/32"], &[]),
        ];
        for (cidrs, excepts) in cases {
            let mut ranges = AddressRanges::new();
            let parse = |cidr: &&str| cidr.parse::<IpNet>().unwrap();
            cidrs.iter().for_each(|cidr| ranges.insert_block(parse(cidr), excepts.iter().map(parse)));
            let mut ruleset = with_rules([Rule::new().ip_daddr_not_in("peers").drop()]);
            ruleset.set(Set::new("peers", [DataType::Ipv4Addr]).interval(), ranges.elements_v4());
            apply(&mut connection, &ruleset);
            for last in 1..=8 {
                let address = Ipv4Addr::new(127, 0, 0, last);
                let expected = ranges.contains(IpAddr::V4(address));
                assert_eq!(receiver.gets(&format!("{address}:2000")), expected, "{cidrs:?} - {excepts:?}: {address}");
            }
        }
    });
}

#[test]
fn a_verdict_map_dispatches_and_changes_while_packets_pass() {
    in_scratch_namespace("filtering::a_verdict_map_dispatches_and_changes_while_packets_pass", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let map = Set::verdict_map("pods", [DataType::Ipv4Addr]);
        let element = |verdict: &str| Element::new(Ipv4Addr::LOCALHOST).verdict(Verdict::jump(verdict));
        let mut ruleset = with_rules([Rule::new().ip_daddr_vmap("pods")]);
        ruleset.chain(Chain::regular("open"), [Rule::new().accept()]);
        ruleset.chain(Chain::regular("closed"), [Rule::new().counter().drop()]);
        ruleset.set(map.clone(), [element("closed")]);
        apply(&mut connection, &ruleset);
        let receiver = Receiver::on("0.0.0.0:2000");
        for (before, after, expected) in [("closed", "open", true), ("open", "closed", false)] {
            let mut transaction = Transaction::new(ruleset.table.clone());
            transaction.delete_elements(&map, [element(before)]);
            transaction.add_elements(&map, [element(after)]);
            connection.apply(&transaction).unwrap();
            assert_eq!(receiver.gets("127.0.0.1:2000"), expected, "{after}");
            assert!(receiver.gets("127.0.0.2:2000"));
        }
    });
}

#[test]
fn new_connections_are_dropped_and_replies_pass() {
    in_scratch_namespace("filtering::new_connections_are_dropped_and_replies_pass", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let (a, b) = (std::net::UdpSocket::bind("127.0.0.1:2000").unwrap(), Receiver::on("127.0.0.1:2001"));
        let rules = |closed: bool| {
            let last = if closed { Rule::new().l4proto(Protocol::UDP).drop() } else { Rule::new().accept() };
            with_rules([Rule::new().ct_state(&[CtState::Established, CtState::Related]).accept(), last])
        };
        apply(&mut connection, &rules(false));
        a.send_to(b"open", "127.0.0.1:2001").unwrap();
        apply(&mut connection, &rules(true));
        // A reply opens the other direction; a connection of its own does not pass.
        assert!(b.answers(&a));
        assert!(!b.gets("127.0.0.1:2001"));
    });
}

#[test]
fn a_destination_is_translated_by_rule_and_by_map() {
    in_scratch_namespace("filtering::a_destination_is_translated_by_rule_and_by_map", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let receiver = Receiver::on("127.0.0.1:2000");
        assert!(!receiver.gets("127.0.0.9:80"));
        let nat = Chain::base("nat", ChainType::Nat, Hook::Output, priority::DSTNAT, Policy::Accept);
        let mut ruleset = Ruleset::new(Table::inet("scratch"));
        ruleset.set(
            Set::map(
                "services",
                [DataType::Ipv4Addr, DataType::InetProto, DataType::InetService],
                [DataType::Ipv4Addr, DataType::InetService],
            ),
            [Element::new((Ipv4Addr::new(127, 0, 0, 8), Protocol::UDP, 81)).data((Ipv4Addr::LOCALHOST, 2000))],
        );
        ruleset.chain(
            nat,
            [
                Rule::new().l4proto(Protocol::UDP).dport(80).dnat(Ipv4Addr::LOCALHOST, Some(2000)),
                Rule::new().ip_daddr(Ipv4Addr::new(127, 0, 0, 7)).dnat(Ipv4Addr::LOCALHOST, None),
                Rule::new().dnat_map(NfProto::Ipv4, &[Field::IpDaddr, Field::L4proto, Field::Dport], "services"),
            ],
        );
        apply(&mut connection, &ruleset);
        assert!(receiver.gets("127.0.0.9:80"));
        assert!(receiver.gets("127.0.0.8:81"));
        assert!(receiver.gets("127.0.0.7:2000"));
        assert!(!receiver.gets("127.0.0.8:82"));
    });
}
