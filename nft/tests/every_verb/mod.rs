//! A table that uses every verb, type and form there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use netpol_nft::{
    AddressRanges, Chain, ChainType, CtDirection, CtState, CtStatus, DataType, Element, Field, Hook, IcmpType,
    Icmpv6Type, NatFlag, NfProto, Numgen, Policy, Protocol, Reject, Rule, Ruleset, Set, Table, Value, Verdict,
    priority,
};

pub(crate) fn nat_chain(name: &str) -> Chain {
    match name {
        "prerouting" => Chain::base(name, ChainType::Nat, Hook::Prerouting, priority::DSTNAT, Policy::Accept),
        _ => Chain::base(name, ChainType::Nat, Hook::Postrouting, priority::SRCNAT + 3, Policy::Accept),
    }
}

pub(crate) fn ruleset() -> Ruleset {
    let mut ruleset = Ruleset::new(Table::inet("scratch"));
    sets(&mut ruleset);
    maps(&mut ruleset);
    ruleset.chain(
        Chain::base("forward", ChainType::Filter, Hook::Forward, priority::FILTER - 11, Policy::Drop).comment("P40"),
        dispatch(),
    );
    ruleset.chain(Chain::base("input", ChainType::Filter, Hook::Input, 5, Policy::Accept), []);
    ruleset.chain(
        Chain::base("output", ChainType::Route, Hook::Output, priority::MANGLE, Policy::Accept),
        [Rule::new().mark(7).set_mark(8), Rule::new().mark_not(7).mark_in("marks").counter()],
    );
    ruleset.chain(Chain::regular("pod-a").comment("namespace/pod"), headers());
    ruleset.chain(Chain::regular("pod-b"), sets_and_maps());
    ruleset.chain(Chain::regular("refusals"), refusals());
    ruleset.chain(Chain::regular("connections"), connections());
    ruleset.chain(nat_chain("postrouting"), sources());
    ruleset.chain(nat_chain("prerouting"), translations());
    ruleset
}

fn net(cidr: &str) -> Ipv4Net {
    cidr.parse().unwrap()
}

fn net6(cidr: &str) -> Ipv6Net {
    cidr.parse().unwrap()
}

fn sets(ruleset: &mut Ruleset) {
    let mut peers = AddressRanges::new();
    peers.insert_block("10.0.0.0/8".parse().unwrap(), ["10.1.0.0/16".parse().unwrap()]);
    peers.insert("255.255.255.255/32".parse().unwrap());
    peers.insert_block("::/0".parse().unwrap(), ["fe80::/10".parse().unwrap()]);
    ruleset.set(Set::new("peers", [DataType::Ipv4Addr]).interval().comment("of a policy"), peers.elements_v4());
    ruleset.set(Set::new("peers6", [DataType::Ipv6Addr]).interval(), peers.elements_v6());
    ruleset.set(
        Set::new("ports", [DataType::InetProto, DataType::InetService]).interval(),
        [Element::new((Protocol::TCP, 80)).to((Protocol::TCP, 90)), Element::new((Protocol::UDP, 53)).comment("dns")],
    );
    ruleset.set(Set::new("clients", [DataType::Ipv4Addr]).filled_by_packets(65_535), []);
    ruleset.set(Set::new("clients6", [DataType::Ipv6Addr, DataType::InetService]).filled_by_packets(9), []);
    ruleset.set(Set::new("services", [DataType::InetService]), [Element::new(80), Element::new(443)]);
    ruleset.set(Set::new("protocols", [DataType::InetProto]), [Element::new(Protocol::SCTP)]);
    ruleset.set(Set::new("uplinks", [DataType::Ifname]), [Element::new("lo").comment("own")]);
    ruleset.set(Set::new("marks", [DataType::Mark]), [Element::new(Value::Mark(5))]);
    ruleset.set(Set::new("families", [DataType::NfProto]), [Element::new(Value::NfProto(NfProto::Ipv6))]);
    ruleset.set(Set::new("pings", [DataType::IcmpType]), [Element::new(IcmpType(0)), Element::new(IcmpType(8))]);
    ruleset.set(Set::new("discovery", [DataType::Icmpv6Type]), [Element::new(Icmpv6Type(135))]);
}

fn maps(ruleset: &mut Ruleset) {
    let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    ruleset.set(
        Set::verdict_map("pods", [DataType::Ipv4Addr]),
        [
            Element::new(v4).verdict(Verdict::jump("pod-a")).comment("uid"),
            Element::new(Ipv4Addr::new(10, 0, 0, 2)).verdict(Verdict::goto("pod-b")),
        ],
    );
    ruleset.set(
        Set::verdict_map("pods6", [DataType::Ipv6Addr]).interval(),
        [
            Element::new(v6).verdict(Verdict::Drop),
            Element::from(net6("fd00::/64")).verdict(Verdict::Accept),
            Element::from(net6("fd01::/64")).verdict(Verdict::Return),
        ],
    );
    ruleset.set(
        Set::verdict_map("answers", [DataType::InetService]).interval(),
        [
            Element::new(0).to(52).verdict(Verdict::Drop),
            Element::new(53).verdict(Verdict::Accept),
            Element::new(54).to(65535).verdict(Verdict::Continue),
        ],
    );
    ruleset.set(
        Set::verdict_map("flows", [DataType::Ipv4Addr, DataType::InetProto, DataType::InetService]).interval(),
        [Element::new((v4, Protocol::TCP, 80)).to((v4, Protocol::TCP, 88)).verdict(Verdict::Accept)],
    );
    ruleset.set(Set::new("endpoints", [DataType::Ipv4Addr, DataType::InetService]), [Element::new((v4, 53))]);
    ruleset.set(
        Set::map("backends", [DataType::InetProto, DataType::InetService], [DataType::Ipv4Addr, DataType::InetService]),
        [Element::new((Protocol::TCP, 80)).data((v4, 8080))],
    );
    ruleset.set(
        Set::map("backends6", [DataType::Ipv6Addr, DataType::InetService], [DataType::Ipv6Addr, DataType::InetService]),
        [Element::new((v6, 80)).data((v6, 8080))],
    );
}

fn dispatch() -> Vec<Rule> {
    vec![
        Rule::new().ct_state(&[CtState::Related, CtState::Established]).accept(),
        Rule::new().ct_state(&[CtState::Invalid]).counter().drop(),
        Rule::new().ct_state_not(&[CtState::New, CtState::Untracked]).return_(),
        Rule::new().ct_state(&[CtState::Established]).ct_direction(CtDirection::Reply).accept(),
        Rule::new().ct_direction(CtDirection::Original).counter().return_(),
        Rule::new().iifname("eth0").oifname_not("lo").accept(),
        Rule::new().iifname("veth*").fib_saddr_iif_missing().drop().comment("forged sources, P39"),
        Rule::new().iifname_in("uplinks").oifname_not_in("uplinks").ip_daddr_vmap("pods"),
        Rule::new().ip6_saddr_vmap("pods6"),
        Rule::new().nfproto(NfProto::Ipv6).accept(),
        Rule::new().nfproto_not(NfProto::Ipv6).nfproto_in("families").accept(),
        Rule::new().goto("pod-b"),
    ]
}

fn headers() -> Vec<Rule> {
    let v6 = Ipv6Addr::LOCALHOST;
    vec![
        Rule::new().l4proto(Protocol::TCP).dport(80).accept(),
        Rule::new().l4proto(Protocol::UDP).ip_saddr(Ipv4Addr::LOCALHOST).dport_range(80..=90).accept(),
        Rule::new().l4proto(Protocol::SCTP).sport_not(9).counter().drop(),
        Rule::new().l4proto(Protocol::TCP).counter().dport_not(80).drop(),
        Rule::new().l4proto(Protocol::TCP).sport_range(0..=1023).return_(),
        Rule::new().l4proto_not(Protocol::TCP).sport(53).return_(),
        Rule::new().l4proto(Protocol::ICMPV6).accept(),
        Rule::new().l4proto(Protocol::ICMP).accept(),
        Rule::new().l4proto(Protocol(253)).accept(),
        Rule::new().nfproto(NfProto::Ipv4).ip_daddr(net("10.0.0.0/8")).drop(),
        Rule::new().ip_saddr_not(net("10.11.12.13/9")).ip_daddr(net("0.0.0.0/0")).drop(),
        Rule::new().ip_daddr_not(Ipv4Addr::LOCALHOST).ip_saddr(Ipv4Addr::LOCALHOST).drop(),
        Rule::new().ip6_saddr(net6("fe80::/10")).ip6_daddr_not(net6("ff00::/8")).drop(),
        Rule::new().ip6_saddr_not(v6).ip6_daddr(v6).drop(),
        Rule::new().icmpv6_type_range(130..=137).accept(),
        Rule::new().icmpv6_type(Icmpv6Type(143)).accept(),
        Rule::new().icmpv6_type_not(Icmpv6Type(128)).accept(),
        Rule::new().l4proto(Protocol::ICMPV6).icmpv6_type(Icmpv6Type(135)).accept(),
    ]
}

fn sets_and_maps() -> Vec<Rule> {
    vec![
        Rule::new().ip_saddr_in("peers").l4proto_dport_in("ports").accept().comment("policy"),
        Rule::new().ip_daddr_not_in("peers").l4proto_dport_not_in("ports").drop(),
        Rule::new().ip6_saddr_in("peers6").ip6_daddr_not_in("peers6").accept(),
        Rule::new().l4proto(Protocol::TCP).dport_in("services").accept(),
        Rule::new().l4proto(Protocol::TCP).dport_not_in("services").sport_in("services").accept(),
        Rule::new().l4proto_in("protocols").accept(),
        Rule::new().l4proto(Protocol::UDP).lookup(&[Field::IpDaddr, Field::Dport], "endpoints").accept(),
        Rule::new().l4proto(Protocol::UDP).dport_vmap("answers"),
        Rule::new().nfproto(NfProto::Ipv6).ip6_saddr_vmap("pods6"),
        Rule::new().vmap(&[Field::IpSaddr, Field::L4proto, Field::Dport], "flows"),
        Rule::new().icmpv6_type_in("discovery").accept(),
        Rule::new().lookup_not(&[Field::L4proto, Field::Sport], "ports").drop(),
        Rule::new().icmp_type_in("pings").accept(),
        Rule::new().l4proto(Protocol::TCP).dport_in([Element::new(80), Element::new(443)]).accept(),
        Rule::new().l4proto(Protocol::TCP).dport_not_in([Element::new(80).to(90), Element::new(443)]).drop(),
        Rule::new().ip_saddr_vmap([
            Element::new(Ipv4Addr::new(10, 0, 0, 1)).verdict(Verdict::Accept),
            Element::new(Ipv4Addr::new(10, 0, 0, 2)).verdict(Verdict::jump("refusals")),
        ]),
        Rule::new().numgen_vmap(Numgen::random(2), [Verdict::goto("refusals"), Verdict::jump("connections")]),
        Rule::new().numgen_vmap(Numgen { offset: 3, ..Numgen::incremental(2) }, [Verdict::Accept, Verdict::Drop]),
        Rule::new().counter(),
    ]
}

fn refusals() -> Vec<Rule> {
    vec![
        Rule::new().icmp_type(IcmpType(8)).reject(Reject::PortUnreachable),
        Rule::new().l4proto(Protocol::ICMP).icmp_type_not(IcmpType(3)).reject(Reject::AdminProhibited),
        Rule::new().l4proto(Protocol::TCP).dport(80).reject(Reject::TcpReset),
        Rule::new().l4proto(Protocol::TCP).reject(Reject::TcpReset),
        Rule::new().ip_saddr(Ipv4Addr::LOCALHOST).reject(Reject::PortUnreachable),
        Rule::new().ip6_saddr(Ipv6Addr::LOCALHOST).reject(Reject::AdminProhibited),
        Rule::new().reject(Reject::PortUnreachable),
    ]
}

fn connections() -> Vec<Rule> {
    vec![
        Rule::new().update("clients", &[Field::IpSaddr], Duration::from_secs(93_784)),
        Rule::new().l4proto(Protocol::TCP).update("clients6", &[Field::Ip6Saddr, Field::Dport], Duration::from_secs(3)),
        Rule::new().ct_status(&[CtStatus::Dnat]).accept(),
        Rule::new().ct_status_not(&[CtStatus::Dnat]).return_(),
        Rule::new().ct_status(&[CtStatus::Snat, CtStatus::Dnat]).counter(),
        Rule::new().ct_mark(7).accept(),
        Rule::new().ct_mark_not(7).set_ct_mark(7),
        Rule::new().ct_original_ip_daddr(Ipv4Addr::LOCALHOST).accept(),
        Rule::new().ct_original_ip_saddr_in("peers").accept(),
        Rule::new().ct_original_ip_daddr_not(net("10.0.0.0/8")).accept(),
        Rule::new().ct_original_ip6_saddr(Ipv6Addr::LOCALHOST).accept(),
        Rule::new().ct_original_ip6_daddr_in("peers6").accept(),
        Rule::new().l4proto(Protocol::TCP).ct_original_proto_dst(80).accept(),
    ]
}

fn sources() -> Vec<Rule> {
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::LOCALHOST.into());
    vec![
        Rule::new().oifname("eth0").ip_saddr(net("10.0.0.0/8")).masquerade(),
        Rule::new().oifname("eth1").masquerade_with(&[NatFlag::Random]),
        Rule::new().oifname("eth2").masquerade_with(&[NatFlag::FullyRandom, NatFlag::Persistent]),
        Rule::new().ip_daddr(Ipv4Addr::new(10, 96, 0, 1)).snat(v4, None),
        Rule::new().l4proto(Protocol::UDP).snat(v6, Some(8080)),
        Rule::new().snat_map(NfProto::Ipv4, &[Field::L4proto, Field::Sport], "backends"),
    ]
}

fn translations() -> Vec<Rule> {
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::LOCALHOST.into());
    vec![
        Rule::new().l4proto(Protocol::TCP).dport(80).dnat(v4, Some(8080)),
        Rule::new().ip_daddr(Ipv4Addr::new(10, 96, 0, 1)).dnat(v4, None),
        Rule::new().l4proto(Protocol::UDP).dport(80).dnat(v6, Some(8080)),
        Rule::new().dnat_map(NfProto::Ipv4, &[Field::L4proto, Field::Dport], "backends"),
        Rule::new().l4proto(Protocol::TCP).dnat_map(NfProto::Ipv6, &[Field::Ip6Daddr, Field::Dport], "backends6"),
        Rule::new().l4proto(Protocol::TCP).dport(90).redirect(9090),
        Rule::new().l4proto(Protocol::TCP).dport(91).dnat_numgen(Numgen::random(2), [(v4, 8080), (v4, 8081)]),
        Rule::new().l4proto(Protocol::UDP).dport(92).dnat_numgen(Numgen::incremental(2), [(v6, 8080), (v6, 8081)]),
    ]
}
