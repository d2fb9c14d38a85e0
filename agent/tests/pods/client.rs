//! The server's HTTP side and the client's log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;

use crate::pods::{B, Network, Process, Relay, agent, eventually, netpol};
use crate::scratch::in_scratch;

#[test]
fn a_listener_serves_http_and_lines_on_one_port() {
    in_scratch("client::a_listener_serves_http_and_lines_on_one_port", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _ready = Relay::attach(&network.b);
        network.a.inside(|| {
            let mut http = TcpStream::connect((B, 8888)).unwrap();
            // In two pieces, within the method's name.
            http.write_all(b"GE").unwrap();
            std::thread::sleep(Duration::from_millis(30));
            http.write_all(b"T / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            http.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nserver saw 10.1.1.2\n"), "{answer}");

            let mut http = TcpStream::connect((B, 8888)).unwrap();
            http.write_all(b"DELETE / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            http.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");

            let mut lines = TcpStream::connect((B, 8888)).unwrap();
            lines.write_all(b"beat 1\nbeat 2\r\n").unwrap();
            let mut lines = BufReader::new(lines).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "beat 1 from 10.1.1.2");
            assert_eq!(lines.next().unwrap().unwrap(), "beat 2 from 10.1.1.2");

            let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            udp.send_to(b"anything", (B, 8888)).unwrap();
            let mut datagram = [0; 100];
            let len = udp.recv(&mut datagram).unwrap();
            assert_eq!(&datagram[..len], b"anything from 10.1.1.2\n");
        });
    });
}

#[test]
fn the_log_grows_with_responses_stops_without_and_grows_again() {
    in_scratch("client::the_log_grows_with_responses_stops_without_and_grows_again", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _ready = Relay::attach(&network.b);
        let arguments =
            ["agent", "client", "--target", "http://10.1.2.3:8888/", "--interval", "50ms", "--port", "8888"];
        let (_client, log) = logging(&network, &arguments);
        let len = || log.lock().unwrap().len();
        std::thread::sleep(Duration::from_millis(300));
        eventually("the log grows", || len() > 5);
        let line = log.lock().unwrap()[3].clone();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-11-22T10:00:00.123Z".len(), "{line}");
        assert!(rest.starts_with("200 from 10.1.2.3:8888: server saw 10.1.1.2 (") && rest.ends_with(" ms)"), "{line}");

        let (before, started) = (len(), Instant::now());
        std::thread::sleep(Duration::from_millis(1000));
        let (grown, most) = (len() - before, started.elapsed().as_millis() as usize / 50 + 1);
        assert!(grown >= most / 2 && grown <= most, "{grown} of at most {most}");

        network.router.route(B, 32, Err(RouteType::BlackHole));
        std::thread::sleep(Duration::from_millis(200));
        let blocked = len();
        std::thread::sleep(Duration::from_millis(1000));
        assert_eq!(len(), blocked, "nothing for failures: {:?}", log.lock().unwrap().last());
        network.router.route_on(B, "to-b");
        std::thread::sleep(Duration::from_millis(700));
        let healed = len();
        assert!(healed > blocked, "it grows again");
        assert!(healed - blocked <= 16, "nothing has piled up: {}", healed - blocked);
    });
}

#[test]
fn a_short_timeout_sees_what_is_open_for_a_moment() {
    in_scratch("client::a_short_timeout_sees_what_is_open_for_a_moment", || {
        let network = Network::new();
        let _b = agent(&network.b, "server --port 8888");
        let _ready = Relay::attach(&network.b);
        network.router.route(B, 32, Err(RouteType::BlackHole));
        let arguments = "agent client --target http://10.1.2.3:8888/ --interval 20ms --timeout 20ms";
        let (_client, log) = logging(&network, &arguments.split(' ').collect::<Vec<_>>());
        let _asking = Relay::attach(&network.a);
        // Within the half second that a request would otherwise wait, with its lost SYN.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(110));
            let before = log.lock().unwrap().len();
            network.router.route_on(B, "to-b");
            let opened = Instant::now();
            eventually("somebody gets through", || log.lock().unwrap().len() > before);
            assert!(opened.elapsed() < Duration::from_millis(300), "{:?}", opened.elapsed());
            network.router.route(B, 32, Err(RouteType::BlackHole));
        }
    });
}

/// A client, and the lines of its log as they come.
fn logging(network: &Network, arguments: &[&str]) -> (Process, Arc<Mutex<Vec<String>>>) {
    // Both streams, as a pod's log merges them.
    let (read, write) = std::io::pipe().unwrap();
    let mut command = netpol(&network.a, arguments);
    command.stdout(write.try_clone().unwrap()).stderr(write).stdin(Stdio::null());
    let client = Process(command.spawn().unwrap());
    drop(command);
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let writer = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(read).lines().map_while(Result::ok) {
            // What the test harness around the client prints.
            if !line.is_empty() && !line.starts_with("running ") {
                writer.lock().unwrap().push(line);
            }
        }
    });
    (client, log)
}
