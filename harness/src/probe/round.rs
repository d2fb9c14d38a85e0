//! One round: every cell probed once, at the same time, with the evidence of both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use netpol_wire::{Answer, Arrival, Call, Got, Probe, ProbeResult, Proto, Token};
use tokio::time::Instant;

use super::errors::{self, ErrorBudget};
use super::{Evidence, Session, Verdict};
use crate::plan::{BoundPod, Cell, PodRef, Route, Transport};

/// Bytes of a datagram that is to go in fragments: more than a packet has, also where frames are jumbo (9,001 bytes).
const FRAGMENTED: u16 = 10_000;

/// A pod that takes part in rounds.
#[derive(Debug)]
pub struct Member {
    /// The stream to its agent.
    pub session: Session,
    /// Where it is.
    pub bound: BoundPod,
    next: AtomicU32,
    pub(super) errors: ErrorBudget,
}

impl Member {
    /// A pod with its stream; its tuples start from the first.
    pub fn new(session: Session, bound: BoundPod) -> Self {
        Member { session, bound, next: AtomicU32::new(0), errors: ErrorBudget::default() }
    }

    /// Numbers its probes from `first`. A pod that was created again goes on where the one before it ended: packets of that one,
    /// whose address nobody has any more, must not count for this one.
    pub fn numbering_from(self, first: Token) -> Self {
        self.next.store(first.0, Ordering::Relaxed);
        self
    }

    /// The agent's answers, or in words why there are none.
    async fn ask(&self, call: Call) -> Result<Vec<Answer>, String> {
        self.session.ask(call).await.map_err(|error| error.to_string())
    }

    /// A fresh tuple: an old conntrack entry must not answer for the policy.
    pub fn token(&self) -> Token {
        Token(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What one probe of a cell showed.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What it proves.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Evidence,
    /// The round trip, where there was one.
    pub rtt: Option<Duration>,
    /// When the round was sent.
    pub sent: Instant,
}

/// What a round showed.
#[derive(Debug)]
pub struct Round {
    /// By cell: all that were asked for.
    pub cells: BTreeMap<Cell, Observation>,
    /// By how much an agent was late at the most.
    pub late: Duration,
    /// How long it waited for receivers that had sent all the ICMP errors that they may.
    pub waited: Duration,
}

/// Probes every cell once. A pod whose agent cannot be asked leaves its cells [`Verdict::NotMeasured`].
pub async fn sample(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Round {
    let asked = Instant::now();
    errors::await_turn(members, cells).await;
    let sent = Instant::now();
    let outgoing = address(members, cells, timeout);
    let results = ask_probers(members, &outgoing).await;
    let arrivals = ask_receivers(members, cells, &outgoing, &results).await;
    let mut round = Round { cells: BTreeMap::new(), late: Duration::ZERO, waited: sent - asked };
    for result in results.values().filter_map(|result| result.as_ref().ok()) {
        round.late = round.late.max(Duration::from_micros(result.late_us));
    }
    for (cell, route) in cells {
        let evidence = gather(members, cells, (cell, route), &outgoing, &results, &arrivals);
        let rtt =
            outgoing.cell(cell).and_then(|key| results.get(&key)?.as_ref().ok()?.rtt_us).map(Duration::from_micros);
        round.cells.insert(cell.clone(), Observation { verdict: evidence.verdict(), evidence, rtt, sent });
    }
    round
}

/// A probe by its prober and its token.
type Key = (PodRef, Token);
/// By probe: its result, or why there is none.
type Results = BTreeMap<Key, Result<ProbeResult, String>>;

/// The probes of a round.
#[derive(Default)]
struct Outgoing {
    probes: BTreeMap<PodRef, Vec<Probe>>,
    cells: BTreeMap<Cell, Token>,
    listeners: BTreeMap<(PodRef, Transport), Token>,
}

impl Outgoing {
    fn cell(&self, cell: &Cell) -> Option<Key> {
        self.cells.get(cell).map(|token| (cell.from.clone(), *token))
    }

    /// The loopback probes of a route's receivers, where they have listeners.
    fn listeners(&self, route: &Route) -> impl Iterator<Item = Key> {
        route.receivers.iter().filter_map(|of| self.listeners.get(of).map(|token| (of.0.clone(), *token)))
    }
}

/// Gives every cell a fresh tuple, and every receiving listener a probe over its own loopback.
fn address(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for (cell, route) in cells {
        let Some(from) = members.get(&cell.from) else { continue };
        let token = from.token();
        outgoing.cells.insert(cell.clone(), token);
        from.errors.spend(route);
        outgoing.probes.entry(cell.from.clone()).or_default().push(probe(token, route.transport, route.to, timeout));
        let loopback = match route.to {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        for of in route.receivers.iter().filter(|(_, transport)| transport.has_listener()) {
            let Some(receiver) = members.get(&of.0).filter(|_| !outgoing.listeners.contains_key(of)) else { continue };
            let token = receiver.token();
            outgoing.listeners.insert(of.clone(), token);
            outgoing.probes.entry(of.0.clone()).or_default().push(probe(token, of.1, loopback, timeout));
        }
    }
    outgoing
}

fn probe(n: Token, transport: Transport, to: IpAddr, timeout: Duration) -> Probe {
    let (proto, port) = match transport {
        Transport::Tcp(port) => (Proto::Tcp, Some(port)),
        Transport::Udp(port) | Transport::RefusedUdp(port) | Transport::FragmentedUdp(port) => (Proto::Udp, Some(port)),
        Transport::Sctp(port) => (Proto::Sctp, Some(port)),
        Transport::Icmp => (Proto::Icmp, None),
    };
    let bytes = matches!(transport, Transport::FragmentedUdp(_)).then_some(FRAGMENTED);
    Probe { n, proto, to, port, bytes, timeout_ms: timeout.as_millis() as u32 }
}

async fn ask_probers(members: &BTreeMap<PodRef, Member>, outgoing: &Outgoing) -> Results {
    let asked = outgoing.probes.iter().filter_map(|(pod, probes)| {
        let member = members.get(pod)?;
        Some(async move { (pod, probes, member.ask(Call::Probe(probes.clone())).await) })
    });
    let mut results = Results::new();
    for (pod, probes, answers) in join_all(asked).await {
        for probe in probes {
            let why = answers.as_ref().err().cloned().unwrap_or_else(|| "the agent gave no result".into());
            results.insert((pod.clone(), probe.n), Err(why));
        }
        for answer in answers.into_iter().flatten() {
            if let Answer::Result(result) = answer {
                results.insert((pod.clone(), result.n), Ok(result));
            }
        }
    }
    results
}

/// Asks every receiver about the probes to it that got no reply; a reply is proof enough of arrival.
async fn ask_receivers(
    members: &BTreeMap<PodRef, Member>,
    cells: &BTreeMap<Cell, Route>,
    outgoing: &Outgoing,
    results: &Results,
) -> BTreeMap<PodRef, Result<Vec<Arrival>, String>> {
    let mut tokens: BTreeMap<&PodRef, BTreeSet<Token>> = BTreeMap::new();
    for (cell, route) in cells {
        let Some(key) = outgoing.cell(cell) else { continue };
        if !matches!(results.get(&key), Some(Ok(ProbeResult { got: Got::Reply, .. }))) {
            for (receiver, _) in &route.receivers {
                tokens.entry(receiver).or_default().insert(key.1);
            }
        }
    }
    let asked = tokens.into_iter().filter_map(|(pod, tokens)| {
        let call = Call::Arrivals(tokens.into_iter().collect());
        let member = members.get(pod)?;
        Some(async move { (pod.clone(), member.ask(call).await) })
    });
    let arrived = |answers: Vec<Answer>| {
        let of = |answer| if let Answer::Arrived(arrivals) = answer { arrivals } else { Vec::new() };
        answers.into_iter().flat_map(of).collect()
    };
    join_all(asked).await.into_iter().map(|(pod, answers)| (pod, answers.map(arrived))).collect()
}

fn gather(
    members: &BTreeMap<PodRef, Member>,
    cells: &BTreeMap<Cell, Route>,
    (cell, route): (&Cell, &Route),
    outgoing: &Outgoing,
    results: &Results,
    arrivals: &BTreeMap<PodRef, Result<Vec<Arrival>, String>>,
) -> Evidence {
    let unmeasured =
        |why: String| Evidence { got: None, arrived: None, listener: true, refused: None, detail: Some(why) };
    let Some(key) = outgoing.cell(cell) else { return unmeasured(format!("{} is not there", cell.from)) };
    let result = match results.get(&key) {
        Some(Ok(result)) => result,
        Some(Err(why)) => return unmeasured(why.clone()),
        None => return unmeasured("not sent".into()),
    };
    let listener =
        outgoing.listeners(route).all(|key| matches!(results.get(&key), Some(Ok(ProbeResult { got: Got::Reply, .. }))));
    let refused = matches!(route.transport, Transport::RefusedUdp(_)).then(|| {
        let receivers = route.receivers.iter().filter_map(|(pod, _)| members.get(pod));
        result.refused_by.is_some_and(|by| receivers.into_iter().any(|member| member.bound.ips.contains(&by)))
    });
    // It may have arrived at any of the receivers; that it did not is known only when all of them say so.
    let (mut arrived, mut complaint) = (Some(false), None);
    // What a pod sends to itself goes over its loopback, where no capture is.
    let to_itself = refused == Some(true) && cell.to.pod() == Some(&cell.from);
    if result.got == Got::Reply || to_itself {
        arrived = Some(true);
    } else {
        for of in &route.receivers {
            let (receiver, transport) = of;
            // A packet from an address that is nobody's may be another prober's with the same token, whose reply shows that it arrived.
            let others = cells.iter().filter(|(other, route)| *other != cell && route.receivers.contains(of));
            let explained = others.filter_map(|(other, _)| outgoing.cell(other)).any(|other| {
                other.1 == key.1 && matches!(results.get(&other), Some(Ok(ProbeResult { got: Got::Reply, .. })))
            });
            let source = Source { members, cell, explained };
            match arrivals.get(receiver) {
                Some(Ok(seen)) if seen.iter().any(|it| source.sent(key.1, *transport, it)) => arrived = Some(true),
                Some(Ok(_)) => {}
                other => {
                    arrived = arrived.filter(|arrived| *arrived);
                    complaint = Some(match other {
                        Some(Err(why)) => why.clone(),
                        _ => format!("{receiver} is not there"),
                    });
                }
            }
        }
    }
    if result.got == Got::Reply && refused.is_some() {
        complaint = Some(format!("somebody listens there: {} is no probe for this port", cell.traffic));
    }
    let detail = complaint.or_else(|| result.detail.clone());
    Evidence { got: Some(result.got), arrived, listener, refused, detail }
}

/// Who may have sent what arrived.
struct Source<'a> {
    members: &'a BTreeMap<PodRef, Member>,
    cell: &'a Cell,
    /// Whether another prober's probe with the same token is known to have arrived there.
    explained: bool,
}

impl Source<'_> {
    /// Whether a captured packet is the one of this cell: tokens are numbered per prober, so its address tells them apart. An
    /// address that no pod has is a rewritten one (P12), and so is a node's on the way through a Service: rather a packet too many than
    /// a leak unseen, unless another probe explains it.
    fn sent(&self, token: Token, transport: Transport, arrival: &Arrival) -> bool {
        let mut owners = self.members.iter().filter(|(_, member)| member.bound.ips.contains(&arrival.src)).peekable();
        let rewritten = owners.peek().is_none()
            || (self.cell.to.pod().is_none()
                && self.members.values().any(|member| member.bound.node_ips.contains(&arrival.src)));
        let own = owners.any(|(pod, _)| *pod == self.cell.from) || (rewritten && !self.explained);
        let wanted = probe(token, transport, arrival.src, Duration::ZERO);
        own && arrival.n == token && arrival.proto == wanted.proto && arrival.port == wanted.port
    }
}
