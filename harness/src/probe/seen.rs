//! From what both ends of a round saw to the evidence of each cell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netpol_wire::{Arrival, Got, ProbeResult, Token};

use super::Evidence;
use super::asking::{Listener, Outgoing, Results, is_reply, listeners, probe};
use crate::plan::{BoundPod, Cell, Endpoint, PodRef, Route, Transport};

/// A packet that is known to have come in: its receiver, what it was sent as, and its token.
type Explained<'a> = (&'a PodRef, Transport, Token);

/// What both ends of a round saw.
pub(super) struct Seen<'a> {
    /// Where each pod is.
    pub(super) bound: BTreeMap<&'a PodRef, &'a BoundPod>,
    pub(super) outgoing: &'a Outgoing,
    pub(super) results: &'a Results,
    /// By receiver: the packets that came in, or why it cannot tell.
    pub(super) arrivals: &'a BTreeMap<PodRef, Result<Vec<Arrival>, String>>,
    /// Of the listeners that had answered nobody: what they answered over loopback.
    pub(super) listeners: &'a BTreeMap<Listener, Result<ProbeResult, String>>,
    /// The probes whose reply shows that they arrived.
    pub(super) answered: BTreeSet<Explained<'a>>,
}

impl<'a> Seen<'a> {
    /// The probes whose reply shows that they arrived.
    pub(super) fn answered(
        cells: &'a BTreeMap<Cell, Route>,
        outgoing: &Outgoing,
        results: &Results,
    ) -> BTreeSet<Explained<'a>> {
        let mut answered = BTreeSet::new();
        for (cell, route) in cells {
            let Some(key) = outgoing.cell(cell).filter(|key| is_reply(results.get(key))) else { continue };
            answered.extend(route.receivers.iter().map(|(receiver, transport)| (receiver, *transport, key.1)));
        }
        answered
    }

    /// The evidence of one cell.
    pub(super) fn gather(&self, cell: &Cell, route: &Route) -> Evidence {
        let unmeasured =
            |why: String| Evidence { got: None, arrived: None, listener: true, refused: None, detail: Some(why) };
        let Some(key) = self.outgoing.cell(cell) else { return unmeasured(format!("{} is not there", cell.from)) };
        let result = match self.results.get(&key) {
            Some(Ok(result)) => result,
            Some(Err(why)) => return unmeasured(why.clone()),
            None => return unmeasured("not sent".into()),
        };
        let listener = listeners(route).all(|of| self.listeners.get(&of).is_none_or(|answer| is_reply(Some(answer))));
        let refused = matches!(route.transport, Transport::RefusedUdp(_)).then(|| {
            let receivers = route.receivers.iter().filter_map(|(pod, _)| self.bound.get(pod));
            result.refused_by.is_some_and(|by| receivers.into_iter().any(|bound| bound.ips.contains(&by)))
        });
        // It may have arrived at any of the receivers; that it did not is known only when all of them say so.
        let (mut arrived, mut complaint) = (Some(false), None);
        // What a pod sends to itself goes over its loopback, where no capture is.
        let to_itself = refused == Some(true) && cell.to.pod() == Some(&cell.from);
        let replied = result.got == Got::Reply && !self.needs_witness(cell, route, result);
        if replied || to_itself {
            arrived = Some(true);
        } else {
            for (receiver, transport) in &route.receivers {
                match self.arrivals.get(receiver) {
                    Some(Ok(seen)) => {
                        // A packet from an address that is nobody's may be another prober's with the same token, whose reply shows that
                        // it arrived. This cell's own reply explains nothing: it is what is in question.
                        let explained =
                            result.got != Got::Reply && self.answered.contains(&(receiver, *transport, key.1));
                        let of_cell = |arrival: &&Arrival| self.is_of(cell, (key.1, *transport), explained, arrival);
                        if let Some(arrival) = seen.iter().find(of_cell) {
                            arrived = Some(true);
                            let own = self.bound.get(&cell.from).is_some_and(|own| own.ips.contains(&arrival.src));
                            complaint = complaint.or_else(|| {
                                (!own).then(|| format!("what arrived at {receiver} came from {}", arrival.src))
                            });
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
        if result.got == Got::Reply && arrived == Some(false) {
            complaint = Some(format!(
                "the reply came from none of the pods behind {}: does the proxy of the node of {} follow its backends?",
                cell.to, cell.from
            ));
        }
        if result.got == Got::Reply && refused.is_some() {
            complaint = Some(format!("somebody listens there: {} is no probe for this port", cell.traffic));
        }
        let detail = complaint.or_else(|| result.detail.clone());
        Evidence { got: Some(result.got), arrived, listener, refused, detail }
    }

    /// Whether a reply alone does not say who gave it: behind a Service's address is whoever the node's proxy takes for a backend. Not where
    /// proxies hide the prober's port, by which receivers know a probe: on node ports, from pods to themselves, for probers that have a
    /// node's address, and wherever who answered saw another address than the prober's.
    fn needs_witness(&self, cell: &Cell, route: &Route, result: &ProbeResult) -> bool {
        let Some(own) = self.bound.get(&cell.from) else { return false };
        matches!(cell.to, Endpoint::Service(_))
            && route.receivers.iter().all(|(receiver, _)| *receiver != cell.from)
            && own.ips.iter().all(|ip| !own.node_ips.contains(ip))
            && result.src_seen.is_some_and(|seen| own.ips.contains(&seen))
    }

    /// Whether a captured packet is the one of this cell: tokens are numbered per prober, so its address tells them apart. An
    /// address that no pod has is a rewritten one (P12), and so is a node's on the way through a Service: rather a packet too many than
    /// a leak unseen, unless another probe explains it.
    fn is_of(&self, cell: &Cell, (token, transport): (Token, Transport), explained: bool, arrival: &Arrival) -> bool {
        let wanted = probe(token, transport, arrival.src, Duration::ZERO);
        if arrival.n != token || arrival.proto != wanted.proto || arrival.port != wanted.port {
            return false;
        }
        let mut owners = self.bound.iter().filter(|(_, bound)| bound.ips.contains(&arrival.src)).peekable();
        let rewritten = owners.peek().is_none()
            || (cell.to.service().is_some() && self.bound.values().any(|bound| bound.node_ips.contains(&arrival.src)));
        owners.any(|(pod, _)| **pod == cell.from) || (rewritten && !explained)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use netpol_wire::Proto;

    use super::*;
    use crate::plan::Traffic;
    use crate::probe::Verdict;

    const TOKEN: Token = Token(7);
    const BEHIND: Transport = Transport::Tcp(8080);
    const NODE: &str = "172.18.0.2";

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "shop".into(), name: name.into() }
    }

    /// The evidence of client → Service of `web` where the prober got `got`, who answered saw it as `src_seen`, and `web` saw a packet from
    /// each of these sources.
    fn through_service(client: &str, got: Got, src_seen: &str, sources: &[&str]) -> Evidence {
        let (from, web) = (pod("client"), pod("web"));
        let bound = |ip: &str| BoundPod {
            ips: vec![ip.parse().unwrap()],
            node: "node".into(),
            node_ips: vec![NODE.parse().unwrap()],
        };
        let (client, behind) = (bound(client), bound("10.1.0.9"));
        let to = Endpoint::Service(pod("front"));
        let cell = Cell { from: from.clone(), to, traffic: Traffic::primary(Transport::Tcp(80)) };
        let route = Route {
            to: IpAddr::from([10, 96, 0, 1]),
            transport: Transport::Tcp(80),
            receivers: BTreeSet::from([(web.clone(), BEHIND)]),
        };
        let src_seen = (got == Got::Reply).then(|| src_seen.parse().unwrap());
        let result = ProbeResult { n: TOKEN, got, rtt_us: None, src_seen, late_us: 0, refused_by: None, detail: None };
        let results = Results::from([((from.clone(), TOKEN), Ok(result))]);
        let arrival = |src: &&str| Arrival {
            n: TOKEN,
            proto: Proto::Tcp,
            src: src.parse().unwrap(),
            port: Some(8080),
            packets: 1,
        };
        let arrivals = BTreeMap::from([(web.clone(), Ok(sources.iter().map(arrival).collect()))]);
        let outgoing = Outgoing::of_one(cell.clone(), TOKEN);
        let cells = BTreeMap::from([(cell.clone(), route.clone())]);
        let seen = Seen {
            bound: BTreeMap::from([(&from, &client), (&web, &behind)]),
            outgoing: &outgoing,
            results: &results,
            arrivals: &arrivals,
            listeners: &BTreeMap::new(),
            answered: Seen::answered(&cells, &outgoing, &results),
        };
        seen.gather(&cell, &route)
    }

    #[test]
    fn a_reply_through_a_service_counts_only_if_a_pod_behind_it_saw_the_probe() {
        let client = "10.1.0.2";
        let verdict = |got, sources: &[&str]| through_service(client, got, client, sources).verdict();
        assert_eq!(verdict(Got::Reply, &[client]), Verdict::Allowed);
        assert_eq!(verdict(Got::Timeout, &[]), Verdict::Dropped);
        assert_eq!(verdict(Got::Timeout, &[client]), Verdict::OneWay);
        let rewritten = through_service(client, Got::Timeout, client, &["10.1.0.77"]);
        assert_eq!(rewritten.verdict(), Verdict::OneWay, "rather a packet too many than a leak unseen");
        assert_eq!(rewritten.detail.as_deref(), Some("what arrived at shop/web came from 10.1.0.77"));

        let elsewhere = through_service(client, Got::Reply, client, &[]);
        assert_eq!(elsewhere.verdict(), Verdict::NotMeasured);
        assert!(elsewhere.detail.unwrap().contains("none of the pods behind"));
        assert_eq!(verdict(Got::Reply, &["10.1.0.9"]), Verdict::NotMeasured, "another pod's probe of the same number");

        // Where the source was rewritten, so may the port have been.
        for (from, seen_as) in [(client, NODE), (client, "10.1.0.1"), (NODE, NODE)] {
            let masqueraded = through_service(from, Got::Reply, seen_as, &[]);
            assert_eq!(masqueraded.verdict(), Verdict::Allowed, "{from} seen as {seen_as}");
        }
    }
}
