//! What probes get, and what is seen to arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;
use netpol_wire::{Got, Proto};

use crate::pods::{A, B, Network, Relay, agent, assert_got, unprivileged_agent};
use crate::scratch::in_scratch;

const ALL: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Icmp];

#[test]
fn every_protocol_is_answered_and_arrives_once() {
    in_scratch("probes::every_protocol_is_answered_and_arrives_once", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888 --udp-port 53");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        for proto in ALL {
            let (token, result) = a.got(proto, B, 8888);
            assert_got(&result, Got::Reply);
            assert!(result.rtt_us.is_some_and(|rtt| rtt > 0 && rtt < 400_000), "{result:?}");
            assert_eq!(result.src_seen, (proto != Proto::Icmp).then_some(A.into()), "{result:?}");
            let arrived = b.arrivals(&[token]);
            assert_eq!(arrived.len(), 1, "{arrived:?}");
            let arrival = &arrived[0];
            assert_eq!((arrival.n, arrival.proto, arrival.src, arrival.packets), (token, proto, A.into(), 1));
            assert_eq!(arrival.port, (proto != Proto::Icmp).then_some(8888));
            assert_eq!(a.arrivals(&[token]), [], "what goes out does not come in");
        }
        let (_, result) = a.got(Proto::Udp, B, 53);
        assert_got(&result, Got::Reply);
    });
}

#[test]
fn a_closed_port_rejects_and_the_packet_is_seen_all_the_same() {
    in_scratch("probes::a_closed_port_rejects_and_the_packet_is_seen_all_the_same", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888 --udp-port 53");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        let (syn, result) = a.got(Proto::Tcp, B, 53);
        assert_got(&result, Got::Rst);
        let (datagram, result) = a.got(Proto::Udp, B, 54);
        assert_got(&result, Got::Icmp);
        assert!(
            result.detail.as_deref().is_some_and(|d| d.contains("port unreachable") && d.contains("10.1.2.3")),
            "{result:?}"
        );
        assert_eq!(result.refused_by, Some(B.into()), "{result:?}");
        let arrived = b.arrivals(&[syn, datagram]);
        assert_eq!(arrived.iter().map(|a| (a.n, a.packets)).collect::<Vec<_>>(), [(syn, 1), (datagram, 1)]);
    });
}

#[test]
fn silence_is_a_timeout_wherever_the_packet_was_lost() {
    in_scratch("probes::silence_is_a_timeout_wherever_the_packet_was_lost", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        // Lost on the way: nothing arrives.
        network.router.route(B, 32, Err(RouteType::BlackHole));
        let probes = ALL.map(|proto| a.probe(proto, B, 8888));
        for result in a.send(&probes) {
            assert_got(&result, Got::Timeout);
            assert_eq!((result.rtt_us, result.src_seen), (None, None));
        }
        assert_eq!(b.arrivals(&probes.map(|probe| probe.n)), []);
        // Lost on the way back: it arrives.
        network.router.route_on(B, "to-b");
        network.router.route(A, 32, Err(RouteType::BlackHole));
        let probes = ALL.map(|proto| a.probe(proto, B, 8888));
        for result in a.send(&probes) {
            assert_got(&result, Got::Timeout);
        }
        let arrived = b.arrivals(&probes.clone().map(|probe| probe.n));
        assert_eq!(arrived.iter().map(|a| a.n).collect::<Vec<_>>(), probes.map(|probe| probe.n), "{arrived:?}");
        // Heard and not answered.
        network.router.route_on(A, "to-a");
        let _mute = network.b.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 99)).unwrap());
        let (token, result) = a.got(Proto::Udp, B, 99);
        assert_got(&result, Got::Timeout);
        assert_eq!(b.arrivals(&[token]).len(), 1);
    });
}

#[test]
fn icmp_errors_of_the_way_are_told_from_resets_and_from_missing_routes() {
    in_scratch("probes::icmp_errors_of_the_way_are_told_from_resets_and_from_missing_routes", || {
        let network = Network::new();
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        // The router is to answer every packet. Another limit, on errors of the routing table, is the whole kernel's: five at
        // once, then one a second.
        network.router.sysctl("ipv4/icmp_ratelimit", "0");
        for (kind, words) in [(RouteType::Unreachable, "host unreachable"), (RouteType::Prohibit, "prohibited")] {
            network.router.route(B, 32, Err(kind));
            for proto in ALL {
                let (_, result) = a.got(proto, B, 8888);
                assert_got(&result, Got::Icmp);
                let detail = result.detail.unwrap();
                assert!(detail.contains(words) && detail.contains("10.1.1.1"), "{proto:?}: {detail}");
                assert_eq!(result.refused_by, None, "it is not the port that is unreachable");
            }
            std::thread::sleep(Duration::from_millis(1500));
        }
        for kind in [RouteType::Unreachable, RouteType::Prohibit, RouteType::BlackHole] {
            network.a.route(B, 32, Err(kind));
            for proto in ALL {
                let (_, result) = a.got(proto, B, 8888);
                assert_got(&result, Got::NoRoute);
                assert!(result.detail.is_some(), "{result:?}");
            }
        }
        let (_, result) = a.got(Proto::Udp, Ipv4Addr::new(192, 0, 2, 1), 8888);
        assert_got(&result, Got::NoRoute);
    });
}

#[test]
fn the_loopback_tells_a_live_listener_from_a_dead_one() {
    in_scratch("probes::the_loopback_tells_a_live_listener_from_a_dead_one", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let (mut b, _) = Relay::attach(&network.b);
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            for proto in ALL {
                let (token, result) = b.got(proto, address, 8888);
                assert_got(&result, Got::Reply);
                assert_eq!(b.arrivals(&[token]), [], "the loopback is no way into the pod");
            }
            let (_, result) = b.got(Proto::Tcp, address, 8889);
            assert_got(&result, Got::Rst);
            let (_, result) = b.got(Proto::Udp, address, 8889);
            assert_got(&result, Got::Icmp);
            assert_eq!(result.refused_by, Some(address), "{result:?}");
        }
    });
}

#[test]
fn a_burst_of_a_thousand_is_answered_and_none_of_its_arrivals_is_missed() {
    in_scratch("probes::a_burst_of_a_thousand_is_answered_and_none_of_its_arrivals_is_missed", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let (mut b, _) = Relay::attach(&network.b);
        let probes: Vec<_> =
            (0..1000).map(|i| netpol_wire::Probe { timeout_ms: 5_000, ..a.probe(ALL[i % 2], B, 8888) }).collect();
        let results = a.send(&probes);
        let lost: Vec<_> = results.iter().filter(|result| result.got != Got::Reply).collect();
        assert!(lost.is_empty(), "{} of 1000, among them {:?}", lost.len(), lost[0]);
        let tokens: Vec<_> = probes.iter().map(|probe| probe.n).collect();
        assert_eq!(b.arrivals(&tokens).iter().map(|arrival| arrival.n).collect::<Vec<_>>(), tokens);
        // Closed for good: nothing in TIME_WAIT holds a tuple, and the same ones work at once again.
        // The last one may still be closing; TIME_WAIT would stay for a minute.
        let sockets = || network.a.inside(|| std::fs::read_to_string("/proc/thread-self/net/sockstat").unwrap());
        let start = Instant::now();
        // Orphans are counted for the whole machine, the others for the namespace.
        let closed = |sockets: &str| sockets.contains("TCP: inuse 0 ") && sockets.contains(" tw 0 ");
        while !closed(&sockets()) {
            assert!(start.elapsed() < Duration::from_secs(2), "{}", sockets());
        }
        let results = a.send(&probes);
        assert!(results.iter().all(|result| result.got == Got::Reply));
    });
}

#[test]
fn what_cannot_be_sent_says_why() {
    in_scratch("probes::what_cannot_be_sent_says_why", || {
        let network = Network::new();
        let _a = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        let probe = a.probe(Proto::Udp, B, 8888);
        let _taken = network.a.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, probe.n.tuple_id())).unwrap());
        let mut portless = a.probe(Proto::Tcp, B, 8888);
        portless.port = None;
        let mut sized = a.probe(Proto::Tcp, B, 8888);
        sized.bytes = Some(10_000);
        let results = a.send(&[probe, portless, sized]);
        assert_got(&results[0], Got::Error);
        assert!(results[0].detail.as_deref().unwrap().contains("in use"), "{:?}", results[0]);
        assert_got(&results[1], Got::Error);
        assert!(results[1].detail.as_deref().unwrap().contains("needs a port"), "{:?}", results[1]);
        assert_got(&results[2], Got::Error);
        assert!(results[2].detail.as_deref().unwrap().contains("only a UDP probe"), "{:?}", results[2]);
    });
}

#[test]
fn an_agent_that_was_stopped_says_how_late_it_was() {
    in_scratch("probes::an_agent_that_was_stopped_says_how_late_it_was", || {
        let network = Network::new();
        let process = agent(&network.a, "server");
        let (mut a, _) = Relay::attach(&network.a);
        network.router.route(B, 32, Err(RouteType::BlackHole));
        let probe = a.probe(Proto::Udp, B, 8888);
        a.call(netpol_wire::Call::Probe(vec![probe]));
        std::thread::sleep(Duration::from_millis(100));
        let pid = rustix::process::Pid::from_child(&process.0);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        match a.hear() {
            netpol_wire::FromAgent::Answer { answer: netpol_wire::Answer::Result(result), .. } => {
                assert_got(&result, Got::Timeout);
                assert!(result.late_us > 400_000, "{result:?}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn pings_need_a_ping_socket_or_a_capability_and_captures_the_capability() {
    in_scratch("probes::pings_need_a_ping_socket_or_a_capability_and_captures_the_capability", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let (mut b, _) = Relay::attach(&network.b);
        let _a = unprivileged_agent(&network.a, "server --port 8888");
        let (mut a, _) = Relay::attach(&network.a);
        let (token, result) = a.got(Proto::Icmp, B, 0);
        assert_got(&result, Got::Error);
        let detail = result.detail.unwrap();
        assert!(detail.contains("ping_group_range") && detail.contains("NET_RAW"), "{detail}");
        match a.answer(netpol_wire::Call::Arrivals(vec![token])) {
            netpol_wire::Answer::Error(text) => assert!(text.contains("capability NET_RAW"), "{text}"),
            other => panic!("{other:?}"),
        }
        let (_, result) = a.got(Proto::Tcp, B, 8888);
        assert_got(&result, Got::Reply);

        network.a.sysctl("ipv4/ping_group_range", "0 0");
        let (token, result) = a.got(Proto::Icmp, B, 0);
        assert_got(&result, Got::Reply);
        assert_eq!(b.arrivals(&[token]).len(), 1, "the ping socket's identifier is the token's");
        network.router.route(B, 32, Err(RouteType::Unreachable));
        let (_, result) = a.got(Proto::Icmp, B, 0);
        assert_got(&result, Got::Icmp);
    });
}
