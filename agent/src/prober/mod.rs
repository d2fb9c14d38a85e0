//! Probes: one fresh tuple each, sent shortly after one another, classified by what comes back.
//!
//! | what the kernel says | [`Got`] |
//! |---|---|
//! | the other agent's echo, within the timeout | `Reply` |
//! | a TCP reset, before or after the connection stood | `Rst` |
//! | an ICMP error that came in for this probe (error queue) | `Icmp`, with type, code and sender |
//! | nothing | `Timeout` |
//! | a packet filter in the pod's own namespace took the packet (EPERM) | `Timeout`, with the reason |
//! | no route, or an unreachable, prohibiting or blackhole one, in the pod itself; a next hop that does not answer | `NoRoute` |
//! | all else, among it a tuple that is in use | `Error` |

mod icmp;
mod sctp;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netpol_wire::{Got, Probe, ProbeResult, Proto};
use socket2::Socket;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::kernel::{self, IcmpError};
use crate::lag::Lag;

pub(crate) use icmp::{Echo, EchoSocket, PAYLOAD};
pub(crate) use tcp::connect;

/// Why a probe did not get its reply.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The system call failed, on our own side or by what the other side sent.
    Io(io::Error),
    /// An ICMP error came in, and whether it was this namespace itself that sent it.
    Icmp(IcmpError, bool),
    /// What came back was not an answer.
    Nonsense(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A reply: when it came, and the prober's address as the receiver saw it.
struct Reply {
    at: Instant,
    src_seen: Option<IpAddr>,
}

/// Time from one probe to the next: dozens at once, from every pod of a matrix, would queue up in front of each other, and their round
/// trips, by which timeouts are measured, would tell of that queue.
const APART: Duration = Duration::from_millis(2);
/// After so many steps all probes of a call are under way; where there are more of them, several go at a time.
const STEPS: usize = 100;

/// Sends these probes on tasks of the current runtime, one shortly after the other, and hands their results on when all have ended: whoever
/// asked needs all of them, and each journey of its own would wake every process between here and there.
pub(crate) fn send_all(probes: Vec<Probe>, done: impl FnOnce(Vec<ProbeResult>) + Send + 'static) {
    let lag = Lag::watch();
    tokio::spawn(async move {
        let mut steps = tokio::time::interval(APART);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let at_a_time = probes.len().div_ceil(STEPS);
        let (mut probes, mut sent) = (probes.into_iter().peekable(), JoinSet::new());
        while probes.peek().is_some() {
            steps.tick().await;
            for probe in probes.by_ref().take(at_a_time) {
                let lag = lag.clone();
                sent.spawn(async move { send(&probe, &lag).await });
            }
        }
        done(sent.join_all().await);
    });
}

/// Sends one probe and waits for its end.
pub(crate) async fn send(probe: &Probe, lag: &Lag) -> ProbeResult {
    let timeout = Duration::from_millis(probe.timeout_ms.into());
    let sent = Instant::now();
    let exchange = async {
        if probe.bytes.is_some() && probe.proto != Proto::Udp {
            return Err(Failure::Nonsense("only a UDP probe has a size".to_owned()));
        }
        match (probe.proto, probe.port) {
            (Proto::Tcp, Some(port)) => tcp::exchange(probe.n, SocketAddr::new(probe.to, port)).await,
            (Proto::Udp, Some(port)) => udp::exchange(probe.n, SocketAddr::new(probe.to, port), probe.bytes).await,
            (Proto::Sctp, Some(port)) => sctp::exchange(probe.n, SocketAddr::new(probe.to, port)).await,
            (Proto::Icmp, None) => icmp::exchange(probe.n, probe.to).await,
            (Proto::Tcp | Proto::Udp | Proto::Sctp, None) => {
                Err(Failure::Nonsense("a TCP, UDP or SCTP probe needs a port".to_owned()))
            }
            (Proto::Icmp, Some(_)) => Err(Failure::Nonsense("an ICMP probe has no port".to_owned())),
        }
    };
    let mut result = ProbeResult {
        n: probe.n,
        got: Got::Timeout,
        rtt_us: None,
        src_seen: None,
        refused_by: None,
        late_us: 0,
        detail: None,
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(reply)) => {
            result.got = Got::Reply;
            result.rtt_us = Some(micros(reply.at - sent));
            result.src_seen = reply.src_seen;
        }
        Ok(Err(failure)) => {
            if let Failure::Icmp(error, false) = &failure {
                result.refused_by = error.from.filter(|_| error.is_port_unreachable());
            }
            let (got, detail) = classify(failure);
            result.got = got;
            result.detail = detail;
            if matches!(got, Got::Rst | Got::Icmp) {
                result.rtt_us = Some(micros(sent.elapsed()));
            }
        }
        Err(_) => {}
    }
    result.late_us = micros(lag.worst());
    result
}

fn classify(failure: Failure) -> (Got, Option<String>) {
    let error = match failure {
        Failure::Icmp(error, true) => return (Got::NoRoute, Some(format!("{error}, which is this pod itself"))),
        Failure::Icmp(error, false) => return (Got::Icmp, Some(error.to_string())),
        Failure::Nonsense(detail) => return (Got::Error, Some(detail)),
        Failure::Io(error) => error,
    };
    let detail = Some(error.to_string());
    match error.raw_os_error() {
        // Without an entry in the error queue these are the other side's TCP.
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE) => (Got::Rst, None),
        // ICMP errors are in the error queue: these come from the routing table. A blackhole route says EINVAL.
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => (Got::NoRoute, detail),
        Some(libc::ETIMEDOUT) => (Got::Timeout, None),
        Some(libc::EPERM) => {
            (Got::Timeout, Some("a packet filter in this pod's own namespace dropped it (EPERM)".to_owned()))
        }
        _ => (Got::Error, detail),
    }
}

/// What the failed call on this socket was about: the ICMP error in its queue, if there is one, else the call's own error.
fn failure(socket: &Socket, error: io::Error) -> Failure {
    queued_icmp_error(socket).unwrap_or(Failure::Io(error))
}

/// Takes the ICMP error out of the socket's queue, if there is one.
fn queued_icmp_error(socket: &Socket) -> Option<Failure> {
    let mut quoted = [0; 128];
    while let Ok(received) = kernel::receive_error(socket.as_fd(), &mut quoted) {
        if let Some(icmp) = received.icmp {
            let own = socket.local_addr().ok().and_then(|address| address.as_socket()).map(|address| address.ip());
            let by_ourselves = from_ourselves(&icmp, own);
            return Some(Failure::Icmp(icmp, by_ourselves));
        }
    }
    None
}

/// Whether this host told itself that the next hop does not answer: host (address) unreachable, from our own address.
fn from_ourselves(icmp: &IcmpError, own: Option<IpAddr>) -> bool {
    matches!((icmp.v6, icmp.kind, icmp.code), (false, 3, 1) | (true, 1, 3)) && own.is_some() && icmp.from == own
}

/// The unspecified address of the family of `to`, with a port.
fn any(to: IpAddr, port: u16) -> SocketAddr {
    match to {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

fn bind(socket: &Socket, address: SocketAddr) -> Result<(), Failure> {
    socket
        .bind(&address.into())
        .map_err(|error| Failure::Nonsense(format!("cannot send from port {}: {error}", address.port())))
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
