//! Probes of a kilohertz, by UDP and TCP in turns, each from a port of its own: one pair that is always allowed and one that is
//! always denied. Wrong is an arrival from the denied one, and an allowed one without an answer within three seconds.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::node::Place;
use crate::probes::{datagrams, listen};

const PORT: u16 = 7000;
/// An allowed probe has to be answered within this time.
const PATIENCE: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_millis(1);
/// How many denied TCP connections are waited for at once: an answer would find them.
const OPEN: usize = 100;

/// The traffic, until it is stopped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    asking: Vec<JoinHandle<()>>,
    answering: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Nobody asks any more.
    asked: AtomicBool,
    /// Nobody answers any more: not before everybody who asked has heard.
    answered: AtomicBool,
    allowed: AtomicU64,
    denied: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Shared {
    fn wrong(&self, what: String) {
        self.wrong.lock().expect("nobody panics with it").push(what);
    }
}

impl Traffic {
    /// Begins to ask the server from both.
    pub(crate) fn start(server: &Place, allowed: &Place, denied: &Place) -> Self {
        let shared = Arc::new(Shared::default());
        let to = SocketAddr::new(server.address, PORT);
        let (udp, tcp) = (datagrams(server, PORT), listen(server, PORT));
        tcp.set_nonblocking(true).expect("a setting");
        let spawn = |at: Option<&Place>, work: Box<dyn FnOnce(&Shared) + Send>| {
            let (shared, namespace) = (Arc::clone(&shared), at.map(|place| place.namespace.try_clone()));
            thread::spawn(move || match namespace {
                Some(namespace) => namespace.run(|| work(&shared)),
                None => work(&shared),
            })
        };
        let enemy = denied.address;
        let answering = vec![
            spawn(None, Box::new(move |shared| answer_datagrams(&udp, enemy, shared))),
            spawn(None, Box::new(move |shared| answer_connections(&tcp, enemy, shared))),
        ];
        let asking = vec![
            spawn(Some(allowed), Box::new(move |shared| ask_allowed(to, shared))),
            spawn(Some(denied), Box::new(move |shared| ask_denied(to, shared))),
        ];
        Self { shared, asking, answering }
    }

    /// How many probes there were of each pair: allowed, denied.
    pub(crate) fn probes(&self) -> [u64; 2] {
        [&self.shared.allowed, &self.shared.denied].map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits until this many more of each pair have begun, at most a minute.
    pub(crate) fn more(&self, probes: u64) {
        let [allowed, denied] = self.probes();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let [a, d] = self.probes();
            if a >= allowed + probes && d >= denied + probes {
                return;
            }
            assert!(Instant::now() < deadline, "no {probes} probes within a minute");
            thread::sleep(PERIOD / 4);
        }
    }

    /// What went wrong so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().expect("nobody panics with it").clone()
    }

    /// Ends it. Nothing may have gone wrong, and there has to have been something.
    pub(crate) fn stop(self) -> [u64; 2] {
        let probes = self.probes();
        // Whoever has asked is still answered: a socket that closes before would refuse the last ones.
        for (end, threads) in [(&self.shared.asked, self.asking), (&self.shared.answered, self.answering)] {
            end.store(true, Ordering::Relaxed);
            threads.into_iter().for_each(|thread| thread.join().expect("a thread of probes"));
        }
        let wrong = self.shared.wrong.lock().expect("nobody panics with it");
        assert!(
            wrong.is_empty(),
            "{} of {probes:?} probes went wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(10)]
        );
        assert!(probes.iter().all(|count| *count > 100), "only {probes:?} probes");
        probes
    }
}

fn answer_datagrams(socket: &std::net::UdpSocket, enemy: IpAddr, shared: &Shared) {
    while !shared.answered.load(Ordering::Relaxed) {
        let Ok((_, from)) = socket.recv_from(&mut [0]) else { continue };
        if from.ip() == enemy {
            shared.wrong(format!("a datagram arrived from {from}"));
        }
        let _ = socket.send_to(b"!", from);
    }
}

fn answer_connections(listener: &std::net::TcpListener, enemy: IpAddr, shared: &Shared) {
    while !shared.answered.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((_, from)) if from.ip() == enemy => shared.wrong(format!("a connection arrived from {from}")),
            Ok(_) => {}
            Err(_) => thread::sleep(PERIOD / 2),
        }
    }
}

/// A socket on a port that the kernel chooses. It is reset when it is dropped, so that its port is free again.
fn socket(to: SocketAddr, kind: Type, protocol: Protocol) -> Socket {
    let socket = Socket::new(Domain::for_address(to), kind, Some(protocol)).expect("a socket");
    if kind == Type::STREAM {
        socket.set_linger(Some(Duration::ZERO)).expect("a setting");
    }
    socket
}

/// Calls the two in turns, one every millisecond.
fn in_turns(shared: &Shared, count: &AtomicU64, mut udp: impl FnMut(), mut tcp: impl FnMut()) {
    let mut due = Instant::now();
    for turn in 0.. {
        if shared.asked.load(Ordering::Relaxed) {
            break;
        }
        if turn % 2 == 0 {
            udp()
        } else {
            tcp()
        }
        count.fetch_add(1, Ordering::Relaxed);
        due = (due + PERIOD).max(Instant::now());
        thread::sleep(due - Instant::now());
    }
}

fn ask_allowed(to: SocketAddr, shared: &Shared) {
    let udp = || {
        let socket = socket(to, Type::DGRAM, Protocol::UDP);
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let asked = socket.connect(&to.into()).and_then(|()| socket.send(b"?"));
        // One packet in each direction, and nobody sends it again.
        match asked.and_then(|_| std::io::Read::read(&mut &socket, &mut [0])) {
            Ok(_) => {}
            Err(error) => {
                shared.wrong(format!("no answer to an allowed datagram from {:?}: {error}", socket.local_addr()))
            }
        }
    };
    let tcp = || {
        let socket = socket(to, Type::STREAM, Protocol::TCP);
        if let Err(error) = socket.connect_timeout(&to.into(), PATIENCE) {
            shared.wrong(format!("an allowed connection: {error}"));
        }
    };
    in_turns(shared, &shared.allowed, udp, tcp);
}

fn ask_denied(to: SocketAddr, shared: &Shared) {
    let udp = || {
        let socket = socket(to, Type::DGRAM, Protocol::UDP);
        socket.send_to(b"?", &to.into()).expect("sent");
    };
    let mut open = VecDeque::new();
    let tcp = || {
        let socket = socket(to, Type::STREAM, Protocol::TCP);
        socket.set_nonblocking(true).expect("a setting");
        match socket.connect(&to.into()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(115) => {}
            other => shared.wrong(format!("a denied connection came to {other:?}")),
        }
        open.push_back(socket);
        if open.len() > OPEN
            && let Some(oldest) = open.pop_front()
            && oldest.peer_addr().is_ok()
        {
            shared.wrong("a denied connection came about".to_owned());
        }
    };
    in_turns(shared, &shared.denied, udp, tcp);
}
