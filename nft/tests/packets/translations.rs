//! Translations, refusals, and sets of a rule's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use netpol_nft::{
    Chain, ChainType, Connection, CtStatus, Element, Errno, Field, Hook, IcmpType, NfProto, Numgen, Policy, Protocol,
    Reject, Rule, Ruleset, Table, Transaction, Verdict, priority,
};

use crate::loopback::{Receiver, answer_to, bring_up, send};
use crate::scratch::in_scratch_namespace;
use crate::{apply, output, with_rules};

fn nat(rules: impl IntoIterator<Item = Rule>) -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet("scratch"));
    let chain = Chain::base("nat", ChainType::Nat, Hook::Output, priority::DSTNAT, Policy::Accept);
    ruleset.chain(chain, rules);
    ruleset
}

#[test]
fn connections_are_spread_over_the_backends_of_a_rule() {
    in_scratch_namespace("translations::connections_are_spread_over_the_backends_of_a_rule", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let spread = |numgen, loopback: IpAddr| {
            let to = |port| (loopback, port);
            let rule = Rule::new().l4proto(Protocol::UDP).dport(80);
            let rule = match loopback {
                IpAddr::V4(_) => rule.ip_daddr(Ipv4Addr::new(127, 0, 0, 9)),
                IpAddr::V6(_) => rule.nfproto(NfProto::Ipv6),
            };
            nat([rule.dnat_numgen(numgen, [to(2000), to(2001)])])
        };
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let cases = [(Numgen::incremental(2), v4, "127.0.0.9:80"), (Numgen::incremental(2), v6, "[::1]:80")];
        for (numgen, loopback, service) in cases {
            apply(&mut connection, &spread(numgen, loopback));
            let backends = [2000, 2001].map(|port| Receiver::on(&SocketAddr::new(loopback, port).to_string()));
            let mut counts = [0, 0];
            for _ in 0..10 {
                send(service);
                backends.iter().zip(&mut counts).for_each(|(backend, count)| *count += usize::from(backend.has_one()));
            }
            assert_eq!(counts, [5, 5], "{service}: in turn");
        }
        // Thirty tosses that all fall on one side are as good as impossible.
        apply(&mut connection, &spread(Numgen::random(2), v4));
        let backends = [2000, 2001].map(|port| Receiver::on(&format!("127.0.0.1:{port}")));
        let mut counts = [0, 0];
        for _ in 0..30 {
            send("127.0.0.9:80");
            backends.iter().zip(&mut counts).for_each(|(backend, count)| *count += usize::from(backend.has_one()));
        }
        assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == 30, "{counts:?}");
    });
}

#[test]
fn sets_and_maps_of_a_rule_go_with_it() {
    in_scratch_namespace("translations::sets_and_maps_of_a_rule_go_with_it", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let ports = [Element::new(2000).to(2001), Element::new(2003)];
        let mut ruleset = with_rules([
            Rule::new().l4proto(Protocol::UDP).dport_in(ports).drop(),
            Rule::new()
                .lookup(
                    &[Field::L4proto, Field::Dport],
                    [Element::new((Protocol::UDP, 2004)), Element::new((Protocol::TCP, 2005))],
                )
                .drop(),
            Rule::new().l4proto(Protocol::UDP).dport_vmap([
                Element::new(2006).verdict(Verdict::jump("closed")),
                Element::new(2007).verdict(Verdict::Accept),
            ]),
        ]);
        ruleset.chain(Chain::regular("closed"), [Rule::new().drop()]);
        apply(&mut connection, &ruleset);
        let open = [1999, 2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007].map(|port| {
            let address = format!("127.0.0.1:{port}");
            Receiver::on(&address).gets(&address)
        });
        assert_eq!(open, [true, false, false, true, false, false, true, false, true]);
        let mut transaction = Transaction::new(ruleset.table.clone());
        transaction.flush_chain("output");
        transaction.delete_chain("closed");
        connection.apply(&transaction).unwrap();
        assert_eq!(connection.sets(&ruleset.table).unwrap(), []);
    });
}

#[test]
fn a_refused_sender_is_told() {
    in_scratch_namespace("translations::a_refused_sender_is_told", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let _listeners =
            ["127.0.0.1:2000", "127.0.0.1:2001"].map(|address| std::net::TcpListener::bind(address).unwrap());
        apply(
            &mut connection,
            &with_rules([
                Rule::new().l4proto(Protocol::TCP).dport(2000).reject(Reject::TcpReset),
                Rule::new().l4proto(Protocol::UDP).dport(2000).reject(Reject::PortUnreachable),
                Rule::new().l4proto(Protocol::UDP).dport(2001).reject(Reject::AdminProhibited),
            ]),
        );
        let kind = std::io::ErrorKind::ConnectionRefused;
        assert_eq!(std::net::TcpStream::connect("127.0.0.1:2000").unwrap_err().kind(), kind);
        std::net::TcpStream::connect("127.0.0.1:2001").unwrap();
        for to in ["127.0.0.1:2000", "[::1]:2000"] {
            assert_eq!(answer_to(to), Some(Errno::CONNREFUSED), "{to}");
        }
        assert_eq!(answer_to("127.0.0.1:2001"), Some(Errno::HOSTUNREACH));
        assert_eq!(answer_to("[::1]:2001"), Some(Errno::ACCESS));
    });
}

#[test]
fn a_translated_connection_is_known_by_its_status_and_first_destination() {
    in_scratch_namespace("translations::a_translated_connection_is_known_by_its_status_and_first_destination", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let receiver = Receiver::on("127.0.0.1:2000");
        let service = Ipv4Addr::new(127, 0, 0, 9);
        let translation =
            || Rule::new().l4proto(Protocol::UDP).ip_daddr(service).dport(80).dnat(Ipv4Addr::LOCALHOST, Some(2000));
        // What is matched, and whether the translated and the plain datagram come through if that is dropped.
        let cases = [
            (Rule::new().ct_status(&[CtStatus::Dnat]), [false, true]),
            (Rule::new().l4proto(Protocol::UDP).ct_status_not(&[CtStatus::Dnat]), [true, false]),
            (Rule::new().ct_original_ip_daddr(service), [false, true]),
            (Rule::new().ct_original_ip_saddr(Ipv4Addr::LOCALHOST), [false, false]),
            (Rule::new().l4proto(Protocol::UDP).ct_original_proto_dst(80), [false, true]),
            (Rule::new().ct_original_ip6_daddr(Ipv6Addr::LOCALHOST), [true, true]),
            (Rule::new().ct_mark(7), [false, true]),
        ];
        for (matched, expected) in cases {
            let mut ruleset = nat([Rule::new().ip_daddr(service).set_ct_mark(7), translation()]);
            ruleset.chain(output(), [matched.clone().drop()]);
            apply(&mut connection, &ruleset);
            assert_eq!(["127.0.0.9:80", "127.0.0.1:2000"].map(|to| receiver.gets(to)), expected, "{matched}");
        }
        // The host's own port, and a packet that is not tracked and so not translated.
        apply(&mut connection, &nat([Rule::new().l4proto(Protocol::UDP).dport(81).redirect(2000)]));
        assert!(receiver.gets("127.0.0.1:81"));
        let mut untracked = nat([Rule::new().l4proto(Protocol::UDP).dport(81).redirect(2000)]);
        let raw = Chain::base("raw", ChainType::Filter, Hook::Output, priority::RAW, Policy::Accept);
        untracked.chain(raw, [Rule::new().notrack()]);
        apply(&mut connection, &untracked);
        assert!(!receiver.gets("127.0.0.1:81"));
    });
}

#[test]
fn a_source_is_translated() {
    in_scratch_namespace("translations::a_source_is_translated", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:2000").unwrap();
        let source = Ipv4Addr::new(127, 0, 0, 7);
        type Translation = Box<dyn Fn(Rule) -> Rule>;
        let map = [Element::new(2000).data((source, 4712)), Element::new(1).data((source, 1))];
        let translations: [Translation; 3] = [
            Box::new(move |rule| rule.snat(source, None)),
            Box::new(move |rule| rule.snat(source, Some(4711))),
            Box::new(move |rule| rule.snat_map(NfProto::Ipv4, &[Field::Dport], map.clone())),
        ];
        for translation in translations {
            let mut ruleset = Ruleset::new(Table::inet("scratch"));
            let chain = Chain::base("nat", ChainType::Nat, Hook::Postrouting, priority::SRCNAT, Policy::Accept);
            let rule = translation(Rule::new().l4proto(Protocol::UDP).ip_daddr(Ipv4Addr::LOCALHOST).dport(2000));
            ruleset.chain(chain, [rule.clone()]);
            apply(&mut connection, &ruleset);
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"probe", "127.0.0.1:2000").unwrap();
            let (_, seen) = receiver.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(seen.ip(), source, "{rule}");
        }
    });
}

#[test]
fn pings_are_told_by_their_type() {
    in_scratch_namespace("translations::pings_are_told_by_their_type", || {
        bring_up();
        let mut connection = Connection::open().unwrap();
        // A port that nobody listens on answers by ICMP; dropped by type, the sender learns nothing.
        let unreachable = || answer_to("127.0.0.1:2009");
        assert_eq!(unreachable(), Some(Errno::CONNREFUSED));
        apply(&mut connection, &with_rules([Rule::new().icmp_type(IcmpType(3)).drop()]));
        assert_eq!(unreachable(), None);
        apply(
            &mut connection,
            &with_rules([Rule::new().icmp_type_in([Element::new(IcmpType(0)), Element::new(IcmpType(8))]).drop()]),
        );
        assert_eq!(unreachable(), Some(Errno::CONNREFUSED));
    });
}
