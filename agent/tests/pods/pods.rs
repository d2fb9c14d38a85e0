//! Two pods, `a` and `b`, on a router between them, as `ptp` wires them; each pod's process is the real agent, spoken to through
//! the real relay.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use netpol_wire::{Answer, Arrival, Call, FromAgent, Got, Held, Hello, Probe, ProbeResult, Proto, ToAgent, Token};

use crate::scratch::{Netns, without_net_raw};

pub(crate) const A: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 2);
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const GATEWAY_A: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const GATEWAY_B: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 1);

/// Carries the command line of the process that stands for `netpol` in a pod.
pub(crate) const ARGUMENTS: &str = "NETPOL_AGENT_TEST_ARGUMENTS";

pub(crate) struct Network {
    pub(crate) a: Netns,
    pub(crate) router: Netns,
    pub(crate) b: Netns,
}

impl Network {
    pub(crate) fn new() -> Self {
        let network = Self { a: Netns::new(), router: Netns::new(), b: Netns::new() };
        network.router.sysctl("ipv4/ip_forward", "1");
        network.router.veth("to-a", GATEWAY_A, &network.a, "eth0", A);
        network.router.veth("to-b", GATEWAY_B, &network.b, "eth0", B);
        network.a.route(Ipv4Addr::new(10, 1, 0, 0), 16, Ok(GATEWAY_A));
        network.b.route(Ipv4Addr::new(10, 1, 0, 0), 16, Ok(GATEWAY_B));
        network
    }

    /// The same over IPv6.
    pub(crate) fn with_ipv6(&self, a: Ipv6Addr, b: Ipv6Addr) {
        self.router.sysctl("ipv6/conf/all/forwarding", "1");
        for (pod, address, other, link) in [(&self.a, a, b, "to-a"), (&self.b, b, a, "to-b")] {
            let gateway = Ipv6Addr::from_bits(address.to_bits() & !0xffff | 1);
            self.router.address_v6(link, gateway);
            pod.address_v6("eth0", address);
            pod.route_v6(other, 64, gateway);
        }
        // Until the links have their own addresses, nobody asks who has another.
        let tentative = |netns: &Netns| {
            let all = netns.inside(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
            all.lines().any(|line| u8::from_str_radix(line.split_whitespace().nth(4).unwrap(), 16).unwrap() & 0x40 != 0)
        };
        eventually("addresses that are sure", || ![&self.a, &self.router, &self.b].into_iter().any(tentative));
    }
}

/// `netpol` with these arguments, in a namespace: this test binary, told to be it.
pub(crate) fn netpol(netns: &Netns, arguments: &[&str]) -> Command {
    let mut command = netns.command(std::env::current_exe().unwrap());
    command.args(["stands_for_netpol", "--exact", "--nocapture"]).env(ARGUMENTS, arguments.join(" "));
    command
}

/// A process that is killed with its handle.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an agent.
pub(crate) fn agent(netns: &Netns, arguments: &str) -> Process {
    let arguments: Vec<&str> = std::iter::once("agent").chain(arguments.split(' ')).collect();
    Process(netpol(netns, &arguments).stdout(Stdio::null()).spawn().unwrap())
}

/// Starts an agent that may have neither raw nor packet sockets.
pub(crate) fn unprivileged_agent(netns: &Netns, arguments: &str) -> Process {
    let arguments: Vec<&str> = std::iter::once("agent").chain(arguments.split(' ')).collect();
    let mut command = netpol(netns, &arguments);
    without_net_raw(&mut command);
    Process(command.stdout(Stdio::null()).spawn().unwrap())
}

/// A relay to the agent of a pod, and what the agent says.
pub(crate) struct Relay {
    process: Process,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    next_id: u64,
    next_token: u32,
}

impl Relay {
    /// Attaches and reads the hello.
    pub(crate) fn attach(netns: &Netns) -> (Self, Hello) {
        let mut child =
            netpol(netns, &["agent", "attach"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test harness prints lines of its own around.
                if let Some(start) = line.find('{') {
                    let _ = say.send(line[start..].to_owned());
                }
            }
        });
        let input = child.stdin.take();
        let mut relay = Self { process: Process(child), input, lines, next_id: 1, next_token: 0 };
        match relay.hear() {
            FromAgent::Hello { hello } => (relay, hello),
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// Goes on with the ids and tokens of an earlier relay.
    pub(crate) fn continuing(mut self, earlier: &Self) -> Self {
        (self.next_id, self.next_token) = (earlier.next_id, earlier.next_token);
        self
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn hear(&mut self) -> FromAgent {
        let line = self.lines.recv_timeout(Duration::from_secs(10)).expect("a line from the agent within 10 s");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// True if the agent says nothing for this long.
    pub(crate) fn is_silent_for(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    pub(crate) fn call(&mut self, call: Call) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.say(&serde_json::to_string(&ToAgent::Call { id, call }).unwrap());
        id
    }

    pub(crate) fn answer(&mut self, call: Call) -> Answer {
        let id = self.call(call);
        match self.hear() {
            FromAgent::Answer { id: of, answer } if of == id => answer,
            other => panic!("not an answer to {id}: {other:?}"),
        }
    }

    pub(crate) fn acknowledge(&mut self, id: u64) {
        self.say(&serde_json::to_string(&ToAgent::Ack { ack: id }).unwrap());
    }

    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    pub(crate) fn probe(&mut self, proto: Proto, to: impl Into<std::net::IpAddr>, port: u16) -> Probe {
        let port = (proto != Proto::Icmp).then_some(port);
        Probe { n: self.token(), proto, to: to.into(), port, bytes: None, timeout_ms: 400 }
    }

    /// Sends probes and waits for all results, which are returned in the order of the probes.
    pub(crate) fn send(&mut self, probes: &[Probe]) -> Vec<ProbeResult> {
        let id = self.call(Call::Probe(probes.to_vec()));
        let mut results: Vec<ProbeResult> = probes
            .iter()
            .map(|_| match self.hear() {
                FromAgent::Answer { id: of, answer: Answer::Result(result) } if of == id => result,
                other => panic!("not a result of {id}: {other:?}"),
            })
            .collect();
        self.acknowledge(id);
        results.sort_by_key(|result| probes.iter().position(|probe| probe.n == result.n).unwrap());
        results
    }

    pub(crate) fn got(&mut self, proto: Proto, to: impl Into<std::net::IpAddr>, port: u16) -> (Token, ProbeResult) {
        let probe = self.probe(proto, to, port);
        (probe.n, self.send(&[probe]).remove(0))
    }

    pub(crate) fn arrivals(&mut self, tokens: &[Token]) -> Vec<Arrival> {
        match self.answer(Call::Arrivals(tokens.to_vec())) {
            Answer::Arrived(arrived) => arrived,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn held(&mut self, call: Call) -> Held {
        match self.answer(call) {
            Answer::Held(mut held) if held.len() == 1 => held.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Closes the relay's input and waits for its end.
    pub(crate) fn close(&mut self) -> ExitStatus {
        drop(self.input.take());
        self.wait_for_end()
    }

    /// Waits for the relay's end; its input stays open.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        self.process.0.wait().unwrap()
    }
}

/// Asserts what came back, with the whole result in the message.
#[track_caller]
pub(crate) fn assert_got(result: &ProbeResult, got: Got) {
    assert_eq!(result.got, got, "{result:?}");
}

/// Waits until something holds, at most so long.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(5), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
