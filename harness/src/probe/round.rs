//! One round: every cell probed once, at the same time, with the evidence of both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use netpol_wire::{Answer, Arrival, Call, Got, Probe, ProbeResult, Proto, Token};
use tokio::time::Instant;

use super::{Evidence, Session, Verdict};
use crate::plan::{BoundPod, Cell, PodRef, Route, Transport};

/// A pod that takes part in rounds.
#[derive(Debug)]
pub struct Member {
    /// The stream to its agent.
    pub session: Session,
    /// Where it is.
    pub bound: BoundPod,
    next: AtomicU32,
}

impl Member {
    /// A pod with its stream. Its tuples start anywhere: connections that an earlier owner of its address has left behind, in whatever
    /// table, are not its own.
    pub fn new(session: Session, bound: BoundPod) -> Self {
        Member { session, bound, next: AtomicU32::new(fastrand::u32(..Token::SPAN)) }
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
}

/// Probes every cell once. A pod whose agent cannot be asked leaves its cells [`Verdict::NotMeasured`].
pub async fn sample(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Round {
    let sent = Instant::now();
    let outgoing = address(members, cells, timeout);
    let results = ask_probers(members, &outgoing).await;
    let arrivals = ask_receivers(members, cells, &outgoing, &results).await;
    let mut round = Round { cells: BTreeMap::new(), late: Duration::ZERO };
    for result in results.values().filter_map(|result| result.as_ref().ok()) {
        round.late = round.late.max(Duration::from_micros(result.late_us));
    }
    let seen = Seen { members, outgoing: &outgoing, answered: answered(cells, &outgoing, &results), results: &results, arrivals: &arrivals };
    for (cell, route) in cells {
        let evidence = seen.gather(cell, route);
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

    /// The loopback probes of a route's receivers; echo requests need none.
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
        outgoing.probes.entry(cell.from.clone()).or_default().push(probe(token, route.transport, route.to, timeout));
        let loopback = match route.to {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        for of in route.receivers.iter().filter(|(_, transport)| *transport != Transport::Icmp) {
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
        Transport::Udp(port) => (Proto::Udp, Some(port)),
        Transport::Sctp(port) => (Proto::Sctp, Some(port)),
        Transport::Icmp => (Proto::Icmp, None),
    };
    Probe { n, proto, to, port, timeout_ms: timeout.as_millis() as u32 }
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
        if !is_reply(results.get(&key)) {
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

/// A packet of which more is known than that it came in: its receiver, what it was sent as, and its token.
type Explained<'a> = (&'a PodRef, Transport, Token);

/// The probes whose reply shows that they arrived.
fn answered<'a>(cells: &'a BTreeMap<Cell, Route>, outgoing: &Outgoing, results: &Results) -> BTreeSet<Explained<'a>> {
    let mut answered = BTreeSet::new();
    for (cell, route) in cells {
        let Some(key) = outgoing.cell(cell) else { continue };
        if is_reply(results.get(&key)) {
            answered.extend(route.receivers.iter().map(|(receiver, transport)| (receiver, *transport, key.1)));
        }
    }
    answered
}

fn is_reply(result: Option<&Result<ProbeResult, String>>) -> bool {
    matches!(result, Some(Ok(ProbeResult { got: Got::Reply, .. })))
}

/// What both ends of a round saw.
struct Seen<'a> {
    members: &'a BTreeMap<PodRef, Member>,
    outgoing: &'a Outgoing,
    results: &'a Results,
    arrivals: &'a BTreeMap<PodRef, Result<Vec<Arrival>, String>>,
    answered: BTreeSet<Explained<'a>>,
}

impl Seen<'_> {
    fn gather(&self, cell: &Cell, route: &Route) -> Evidence {
        let unmeasured = |why: String| Evidence { got: None, arrived: None, listener: true, detail: Some(why) };
        let Some(key) = self.outgoing.cell(cell) else { return unmeasured(format!("{} is not there", cell.from)) };
        let result = match self.results.get(&key) {
            Some(Ok(result)) => result,
            Some(Err(why)) => return unmeasured(why.clone()),
            None => return unmeasured("not sent".into()),
        };
        let listener = self.outgoing.listeners(route).all(|key| is_reply(self.results.get(&key)));
        // It may have arrived at any of the receivers; that it did not is known only when all of them say so.
        let (mut arrived, mut complaint) = (Some(false), None);
        if result.got == Got::Reply {
            arrived = Some(true);
        } else {
            for (receiver, transport) in &route.receivers {
                match self.arrivals.get(receiver) {
                    Some(Ok(seen)) => {
                        // A packet from an address that is nobody's may be another prober's with the same token, whose reply shows that
                        // it arrived.
                        let explained = self.answered.contains(&(receiver, *transport, key.1));
                        if seen.iter().any(|arrival| self.is_of(cell, (key.1, *transport), explained, arrival)) {
                            arrived = Some(true);
                        }
                    }
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
        let detail = complaint.or_else(|| result.detail.clone());
        Evidence { got: Some(result.got), arrived, listener, detail }
    }

    /// Whether a captured packet is the one of this cell: tokens are numbered per prober, so its address tells them apart. An
    /// address that no pod has is a rewritten one (P12), and so is a node's on the way through a Service: rather a packet too many than
    /// a leak unseen, unless another probe explains it.
    fn is_of(&self, cell: &Cell, (token, transport): (Token, Transport), explained: bool, arrival: &Arrival) -> bool {
        let wanted = probe(token, transport, arrival.src, Duration::ZERO);
        if arrival.n != token || arrival.proto != wanted.proto || arrival.port != wanted.port {
            return false;
        }
        let mut owners = self.members.iter().filter(|(_, member)| member.bound.ips.contains(&arrival.src)).peekable();
        let rewritten = owners.peek().is_none()
            || (cell.to.pod().is_none()
                && self.members.values().any(|member| member.bound.node_ips.contains(&arrival.src)));
        owners.any(|(pod, _)| *pod == cell.from) || (rewritten && !explained)
    }
}
