//! The commands' exit codes and words.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;

use crate::pods::{B, Network, Process, Relay, agent, netpol};
use crate::scratch::{Netns, in_scratch};

fn ping(netns: &Netns, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["ping"], arguments].concat();
    let Output { status, stdout, stderr } = netpol(netns, &arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn ping_tells_by_its_exit_code_whether_a_reply_came() {
    in_scratch("commands::ping_tells_by_its_exit_code_whether_a_reply_came", || {
        let network = Network::new();
        let (code, text) = ping(&network.a, &["-c", "3", "-i", "0.05", "10.1.2.3"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("PING 10.1.2.3 (10.1.2.3) 56(84) bytes of data."), "{text}");
        assert!(text.contains("\n64 bytes from 10.1.2.3: icmp_seq=3 ttl=63 time="), "{text}");
        assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss"), "{text}");
        assert!(text.contains("rtt min/avg/max/mdev = "), "{text}");
        let (code, text) = ping(&network.a, &["-q", "-c1", "10.1.2.3"]);
        assert_eq!((code, text.contains("icmp_seq")), (Some(0), false), "{text}");
        let (code, text) = ping(&network.a, &["-c1", "-6", "::1"]);
        assert_eq!(code, Some(0), "{text}");

        network.router.route(B, 32, Err(RouteType::BlackHole));
        let started = Instant::now();
        let (code, text) = ping(&network.a, &["-c", "2", "-i", "0.1", "-W", "0.5", "10.1.2.3"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("2 packets transmitted, 0 received, 100% packet loss"), "{text}");
        assert!((500..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        let (code, text) = ping(&network.a, &["-w", "0.5", "-i", "0.2", "10.1.2.3"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("3 packets transmitted, 0 received"), "{text}");
        network.router.route(B, 32, Err(RouteType::Unreachable));
        let (code, text) = ping(&network.a, &["-c1", "10.1.2.3"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("From 10.1.1.1: icmp_seq=1 ICMP host unreachable"), "{text}");
        assert!(text.contains("0 received, +1 errors"), "{text}");

        assert_eq!(ping(&network.a, &["-c", "1", "192.0.2.1"]).0, Some(2), "no route");
        assert_eq!(ping(&network.a, &["-c", "none", "10.1.2.3"]).0, Some(2), "usage");
    });
}

#[test]
fn a_ping_by_hand_is_not_taken_for_a_probe() {
    in_scratch("commands::a_ping_by_hand_is_not_taken_for_a_probe", || {
        let network = Network::new();
        let _b = agent(&network.b, "server");
        let (mut b, _) = Relay::attach(&network.b);
        assert_eq!(ping(&network.a, &["-c1", "10.1.2.3"]).0, Some(0));
        let all: Vec<_> = (0..20_000).map(netpol_wire::Token).collect();
        assert_eq!(b.arrivals(&all), []);
    });
}

#[test]
fn signals_end_an_agent_at_once_with_code_0() {
    in_scratch("commands::signals_end_an_agent_at_once_with_code_0", || {
        let network = Network::new();
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
            let mut process = agent(&network.b, "server --port 8888");
            let (mut relay, _) = Relay::attach(&network.b);
            let started = Instant::now();
            rustix::process::kill_process(rustix::process::Pid::from_child(&process.0), signal).unwrap();
            assert_eq!(process.0.wait().unwrap().code(), Some(0));
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            assert_eq!(relay.wait_for_end().code(), Some(1), "the agent ended before the relay's input");
        }
    });
}

#[test]
fn a_relay_without_an_agent_says_what_to_do() {
    in_scratch("commands::a_relay_without_an_agent_says_what_to_do", || {
        let netns = Netns::new();
        let output = netpol(&netns, &["agent", "attach"]).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("netpol agent server") && text.contains("NETPOL_AGENT_NAME"), "{text}");
    });
}

#[test]
fn what_is_taken_is_refused_by_name() {
    in_scratch("commands::what_is_taken_is_refused_by_name", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _ready = Relay::attach(&network.b);
        let output = netpol(&network.b, &["agent", "server", "--port", "8888"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("cannot listen on TCP 0.0.0.0:8888"), "{text}");
        let output = netpol(&network.b, &["agent", "server"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("'netpol-agent'") && text.contains("NETPOL_AGENT_NAME"), "{text}");
        // Under a name of its own (hostNetwork) it has a place.
        let mut command = netpol(&network.b, &["agent", "server"]);
        let _other = Process(command.env("NETPOL_AGENT_NAME", "other").stdout(Stdio::null()).spawn().unwrap());
        let mut attach = netpol(&network.b, &["agent", "attach"]);
        let output = attach.env("NETPOL_AGENT_NAME", "other").stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(r#"{"hello":{"#),
            "{output:?}"
        );
    });
}
