//! One round: every cell probed once, at the same time, with the evidence of both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use netpol_wire::{Answer, Arrival, Call, Got, Probe, ProbeResult, Proto, Token};
use tokio::time::Instant;

use super::{Evidence, Session, Verdict};
use crate::plan::{BoundPod, Cell, PodRef, Traffic};

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
    /// A pod with its stream; its tuples start from the first.
    pub fn new(session: Session, bound: BoundPod) -> Self {
        Member { session, bound, next: AtomicU32::new(0) }
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
pub async fn sample(members: &BTreeMap<PodRef, Member>, cells: &BTreeSet<Cell>, timeout: Duration) -> Round {
    let sent = Instant::now();
    let outgoing = address(members, cells, timeout);
    let results = ask_probers(members, &outgoing).await;
    let arrivals = ask_receivers(members, &outgoing, &results).await;
    let mut round = Round { cells: BTreeMap::new(), late: Duration::ZERO };
    for result in results.values().filter_map(|result| result.as_ref().ok()) {
        round.late = round.late.max(Duration::from_micros(result.late_us));
    }
    for cell in cells {
        let evidence = gather(members, cell, &outgoing, &results, &arrivals);
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
    listeners: BTreeMap<(PodRef, Traffic), Token>,
}

impl Outgoing {
    fn cell(&self, cell: &Cell) -> Option<Key> {
        self.cells.get(cell).map(|token| (cell.from.clone(), *token))
    }

    fn listener(&self, cell: &Cell) -> Option<Key> {
        self.listeners.get(&(cell.to.clone(), cell.traffic)).map(|token| (cell.to.clone(), *token))
    }
}

/// Gives every cell a fresh tuple, and every receiving listener a probe over its own loopback.
fn address(members: &BTreeMap<PodRef, Member>, cells: &BTreeSet<Cell>, timeout: Duration) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for cell in cells {
        let (Some(from), Some(to)) = (members.get(&cell.from), members.get(&cell.to)) else { continue };
        let Some(address) = to.bound.ips.first() else { continue };
        let token = from.token();
        outgoing.cells.insert(cell.clone(), token);
        outgoing.probes.entry(cell.from.clone()).or_default().push(probe(token, cell.traffic, *address, timeout));
        if cell.traffic != Traffic::Icmp && !outgoing.listeners.contains_key(&(cell.to.clone(), cell.traffic)) {
            let token = to.token();
            let loopback = match address {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
            };
            outgoing.listeners.insert((cell.to.clone(), cell.traffic), token);
            outgoing.probes.entry(cell.to.clone()).or_default().push(probe(token, cell.traffic, loopback, timeout));
        }
    }
    outgoing
}

fn probe(n: Token, traffic: Traffic, to: IpAddr, timeout: Duration) -> Probe {
    let (proto, port) = match traffic {
        Traffic::Tcp(port) => (Proto::Tcp, Some(port)),
        Traffic::Udp(port) => (Proto::Udp, Some(port)),
        Traffic::Icmp => (Proto::Icmp, None),
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
    outgoing: &Outgoing,
    results: &Results,
) -> BTreeMap<PodRef, Result<Vec<Arrival>, String>> {
    let mut tokens: BTreeMap<&PodRef, BTreeSet<Token>> = BTreeMap::new();
    for (cell, token) in &outgoing.cells {
        let result = results.get(&(cell.from.clone(), *token));
        if !matches!(result, Some(Ok(ProbeResult { got: Got::Reply, .. }))) {
            tokens.entry(&cell.to).or_default().insert(*token);
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
    cell: &Cell,
    outgoing: &Outgoing,
    results: &Results,
    arrivals: &BTreeMap<PodRef, Result<Vec<Arrival>, String>>,
) -> Evidence {
    let unmeasured = |why: String| Evidence { got: None, arrived: None, listener: true, detail: Some(why) };
    let Some(key) = outgoing.cell(cell) else {
        return unmeasured(format!("{} or {} is not there, or has no address", cell.from, cell.to));
    };
    let result = match results.get(&key) {
        Some(Ok(result)) => result,
        Some(Err(why)) => return unmeasured(why.clone()),
        None => return unmeasured("not sent".into()),
    };
    let listener = outgoing
        .listener(cell)
        .is_none_or(|key| matches!(results.get(&key), Some(Ok(ProbeResult { got: Got::Reply, .. }))));
    let (arrived, complaint) = match arrivals.get(&cell.to) {
        // Nobody asked: the round trip succeeded.
        None => (Some(true), None),
        Some(Ok(seen)) => (Some(seen.iter().any(|arrival| matches(members, cell, key.1, arrival))), None),
        Some(Err(why)) => (None, Some(why.clone())),
    };
    let detail = complaint.or_else(|| result.detail.clone());
    Evidence { got: Some(result.got), arrived, listener, detail }
}

/// Whether a captured packet is the one of this cell: tokens are numbered per prober, so its address tells them apart. An
/// address that no pod has is a rewritten one (P12): rather a packet too many than a leak unseen.
fn matches(members: &BTreeMap<PodRef, Member>, cell: &Cell, token: Token, arrival: &Arrival) -> bool {
    let owner = members.iter().find(|(_, member)| member.bound.ips.contains(&arrival.src));
    let source = owner.is_none_or(|(pod, _)| *pod == cell.from);
    let wanted = probe(token, cell.traffic, arrival.src, Duration::ZERO);
    source && arrival.n == token && arrival.proto == wanted.proto && arrival.port == wanted.port
}
