//! Datagrams that are too large for a packet: each way in fragments, of which only the first one has ports.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::route::RouteType;
use netpol_wire::{Got, Probe, Proto};

use crate::pods::{A, B, Network, Relay, agent, assert_got};
use crate::scratch::in_scratch;

/// More than any packet of a veth has.
const BYTES: u16 = 10_000;
const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 3);

fn large(relay: &mut Relay, to: IpAddr) -> Probe {
    Probe { bytes: Some(BYTES), ..relay.probe(Proto::Udp, to, 8888) }
}

/// Datagrams that this namespace has put together from fragments.
fn reassembled(network: &Network, v6: bool) -> u64 {
    let (file, name) = if v6 { ("snmp6", "Ip6ReasmOKs") } else { ("snmp", "ReasmOKs") };
    let text = network.b.inside(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap());
    if v6 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        return line.split_whitespace().nth(1).unwrap().parse().unwrap();
    }
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|of| of == name).unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn a_large_datagram_is_echoed_in_full_and_arrives_once() {
    in_scratch("fragments::a_large_datagram_is_echoed_in_full_and_arrives_once", || {
        let network = Network::new();
        network.with_ipv6(A6, B6);
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        for (from, to) in [(IpAddr::from(A), IpAddr::from(B)), (A6.into(), B6.into())] {
            let before = reassembled(&network, to.is_ipv6());
            let probe = large(&mut a, to);
            let result = a.send(std::slice::from_ref(&probe)).remove(0);
            assert_got(&result, Got::Reply);
            assert_eq!(result.src_seen, Some(from), "{result:?}");
            assert_eq!(reassembled(&network, to.is_ipv6()), before + 1, "it came in fragments");
            let arrived = b.arrivals(&[probe.n]);
            assert_eq!(
                arrived.iter().map(|it| (it.src, it.port, it.packets)).collect::<Vec<_>>(),
                [(from, Some(8888), 1)]
            );
        }
        // Over the loopback, as a listener is checked.
        let probe = large(&mut b, std::net::Ipv4Addr::LOCALHOST.into());
        assert_got(&b.send(&[probe])[0], Got::Reply);
    });
}

#[test]
fn a_large_datagram_that_gets_no_answer_is_seen_to_arrive() {
    in_scratch("fragments::a_large_datagram_that_gets_no_answer_is_seen_to_arrive", || {
        let network = Network::new();
        network.with_ipv6(A6, B6);
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        network.router.route(A, 32, Err(RouteType::BlackHole));
        let probe = large(&mut a, B.into());
        assert_got(&a.send(std::slice::from_ref(&probe))[0], Got::Timeout);
        assert_eq!(b.arrivals(&[probe.n]).len(), 1);
        // Nobody listens: the error comes back, and the datagram has arrived.
        for to in [IpAddr::from(B), B6.into()] {
            network.router.route_on(A, "to-a");
            let probe = Probe { port: Some(99), ..large(&mut a, to) };
            let result = a.send(std::slice::from_ref(&probe)).remove(0);
            assert_got(&result, Got::Icmp);
            assert_eq!(result.refused_by, Some(to), "{result:?}");
            assert_eq!(b.arrivals(&[probe.n]).len(), 1, "{to}");
        }
        // More than a datagram can carry.
        let probe = Probe { bytes: Some(u16::MAX), ..large(&mut a, B.into()) };
        assert_got(&a.send(&[probe])[0], Got::Error);
    });
}
