//! Whom a round asks for what: every prober for its cells, then every receiver for what arrived, and for its listener where nobody has
//! heard from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::future::join_all;
use netpol_wire::{Answer, Arrival, Call, Got, Probe, ProbeResult, Proto, Token};

use super::round::Member;
use crate::plan::{Cell, Endpoint, Family, PodRef, Route, Transport};

/// A probe by its prober and its token.
pub(super) type Key = (PodRef, Token);
/// By probe: its result, or why there is none.
pub(super) type Results = BTreeMap<Key, Result<ProbeResult, String>>;
/// A pod's listener.
pub(super) type Listener = (PodRef, Transport, Family);

/// Bytes of a datagram that is to go in fragments: more than a packet has, also where frames are jumbo (9,001 bytes).
const FRAGMENTED: u16 = 10_000;

/// The probes of a round.
#[derive(Default)]
pub(super) struct Outgoing {
    /// By prober.
    pub(super) probes: BTreeMap<PodRef, Vec<Probe>>,
    cells: BTreeMap<Cell, Token>,
}

impl Outgoing {
    /// Gives every cell a fresh tuple.
    pub(super) fn of(members: &BTreeMap<PodRef, Member>, cells: &BTreeMap<Cell, Route>, timeout: Duration) -> Self {
        let mut outgoing = Outgoing::default();
        for (cell, route) in cells {
            let Some(from) = members.get(&cell.from) else { continue };
            let token = from.token();
            outgoing.cells.insert(cell.clone(), token);
            from.errors.spend(route);
            let probe = probe(token, route.transport, route.to, timeout);
            outgoing.probes.entry(cell.from.clone()).or_default().push(probe);
        }
        outgoing
    }

    /// That of one cell alone, which is sent already.
    pub(super) fn of_one(cell: Cell, token: Token) -> Self {
        Outgoing { probes: BTreeMap::new(), cells: BTreeMap::from([(cell, token)]) }
    }

    /// A cell's probe.
    pub(super) fn cell(&self, cell: &Cell) -> Option<Key> {
        self.cells.get(cell).map(|token| (cell.from.clone(), *token))
    }
}

/// A probe of this transport.
pub(super) fn probe(n: Token, transport: Transport, to: IpAddr, timeout: Duration) -> Probe {
    let (proto, port) = match transport {
        Transport::Tcp(port) => (Proto::Tcp, Some(port)),
        Transport::Udp(port) | Transport::RefusedUdp(port) | Transport::FragmentedUdp(port) => (Proto::Udp, Some(port)),
        Transport::Sctp(port) => (Proto::Sctp, Some(port)),
        Transport::Icmp => (Proto::Icmp, None),
    };
    let bytes = matches!(transport, Transport::FragmentedUdp(_)).then_some(FRAGMENTED);
    Probe { n, proto, to, port, bytes, timeout_ms: timeout.as_millis() as u32 }
}

/// Whether a probe got its reply.
pub(super) fn is_reply(result: Option<&Result<ProbeResult, String>>) -> bool {
    matches!(result, Some(Ok(ProbeResult { got: Got::Reply, .. })))
}

/// The listeners behind a route; echo requests have none, and neither have datagrams that are to be refused.
pub(super) fn listeners(route: &Route) -> impl Iterator<Item = Listener> {
    let family = Family::of(route.to);
    let listening = route.receivers.iter().filter(|(_, transport)| transport.has_listener());
    listening.map(move |(pod, transport)| (pod.clone(), *transport, family))
}

/// The listeners that owe somebody a reply and have answered nobody. Which of several backends a reply came from it does not say.
pub(super) fn unproven(cells: &BTreeMap<Cell, Route>, outgoing: &Outgoing, results: &Results) -> BTreeSet<Listener> {
    let (mut owing, mut proven) = (BTreeSet::new(), BTreeSet::new());
    for (cell, route) in cells {
        match outgoing.cell(cell) {
            Some(key) if !is_reply(results.get(&key)) => owing.extend(listeners(route)),
            Some(_) if route.receivers.len() == 1 => proven.extend(listeners(route)),
            _ => {}
        }
    }
    owing.retain(|listener| !proven.contains(listener));
    owing
}

/// Sends the probes of every prober.
pub(super) async fn ask_probers(members: &BTreeMap<PodRef, Member>, probes: &BTreeMap<PodRef, Vec<Probe>>) -> Results {
    let asked = probes.iter().filter_map(|(pod, probes)| {
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

/// Asks every receiver about the probes to it that got no reply, which is proof enough of arrival, unless a node's proxy chose the receiver.
pub(super) async fn ask_receivers(
    members: &BTreeMap<PodRef, Member>,
    cells: &BTreeMap<Cell, Route>,
    outgoing: &Outgoing,
    results: &Results,
) -> BTreeMap<PodRef, Result<Vec<Arrival>, String>> {
    let mut tokens: BTreeMap<&PodRef, BTreeSet<Token>> = BTreeMap::new();
    for (cell, route) in cells {
        let Some(key) = outgoing.cell(cell) else { continue };
        if !is_reply(results.get(&key)) || matches!(cell.to, Endpoint::Service(_)) {
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

/// Has pods probe listeners of theirs over their own loopback.
pub(super) async fn ask_listeners(
    members: &BTreeMap<PodRef, Member>,
    listeners: BTreeSet<Listener>,
    timeout: Duration,
) -> BTreeMap<Listener, Result<ProbeResult, String>> {
    let (mut probes, mut keys) = (BTreeMap::<PodRef, Vec<Probe>>::new(), Vec::new());
    for listener in listeners {
        let (pod, transport, family) = &listener;
        let Some(member) = members.get(pod) else { continue };
        let loopback = match family {
            Family::Ipv4 => IpAddr::from(Ipv4Addr::LOCALHOST),
            Family::Ipv6 => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        let token = member.token();
        probes.entry(pod.clone()).or_default().push(probe(token, *transport, loopback, timeout));
        keys.push(((pod.clone(), token), listener));
    }
    let mut results = ask_probers(members, &probes).await;
    keys.into_iter().filter_map(|(key, listener)| Some((listener, results.remove(&key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Traffic;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "x".into(), name: name.into() }
    }

    /// A round in which the cells to these receivers, from a, got these answers.
    fn silent_after(round: &[(&[&str], Transport, Got)]) -> Vec<String> {
        let (mut cells, mut outgoing, mut results) = (BTreeMap::new(), Outgoing::default(), Results::new());
        for (n, (receivers, transport, got)) in (0..).map(Token).zip(round) {
            let from = pod(&format!("prober-{n}"));
            let cell = Cell { from: from.clone(), to: pod(receivers[0]).into(), traffic: Traffic::primary(*transport) };
            let receivers = receivers.iter().map(|receiver| (pod(receiver), *transport)).collect();
            cells.insert(cell.clone(), Route { to: [10, 0, 0, 1].into(), transport: *transport, receivers });
            outgoing.cells.insert(cell, n);
            let result =
                ProbeResult { n, got: *got, rtt_us: None, src_seen: None, late_us: 0, refused_by: None, detail: None };
            results.insert((from, n), Ok(result));
        }
        unproven(&cells, &outgoing, &results)
            .into_iter()
            .map(|(pod, transport, _)| format!("{} {transport:?}", pod.name))
            .collect()
    }

    #[test]
    fn a_listener_is_asked_that_owes_a_reply_and_answered_nobody() {
        let tcp = Transport::Tcp(80);
        assert_eq!(silent_after(&[(&["b"], tcp, Got::Timeout)]), ["b Tcp(80)"]);
        assert_eq!(
            silent_after(&[(&["b"], tcp, Got::Timeout), (&["b"], tcp, Got::Reply)]),
            [""; 0],
            "it answered another prober"
        );
        assert_eq!(
            silent_after(&[(&["b"], tcp, Got::Rst), (&["b"], Transport::Tcp(81), Got::Reply)]),
            ["b Tcp(80)"],
            "on another port"
        );
        assert_eq!(
            silent_after(&[(&["b"], tcp, Got::Timeout), (&["c"], tcp, Got::Reply)]),
            ["b Tcp(80)"],
            "another pod answered"
        );
        assert_eq!(
            silent_after(&[(&["b"], tcp, Got::Timeout), (&["b", "c"], tcp, Got::Reply)]),
            ["b Tcp(80)"],
            "who of the two answered is not known"
        );
        assert_eq!(
            silent_after(&[(&["b"], Transport::Icmp, Got::Timeout)]),
            [""; 0],
            "nobody listens for echo requests"
        );
    }
}
