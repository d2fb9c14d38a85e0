//! The judgement of a flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use thiserror::Error;

use crate::cite::{cite_denial, cite_match};
use crate::cluster::{Cluster, End, Family, Flow, Labels, Node, Pod, PodName, Traffic};
use crate::compile::compile;
use crate::invalid::{Cause, InvalidPolicy};
use crate::ipblock::Membership;
use crate::policy::{Direction, Peer, Policy, Rule};
use crate::reason::{AllowedBy, Isolating, Miss, Reason, Side};
use crate::rule_id::RuleId;
use crate::rule_id::RuleId::N;

/// The label that every namespace carries (N27).
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A cluster whose policies have been checked: what every flow is judged by.
#[derive(Debug, Clone)]
pub struct Specification {
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<PodName, Pod>,
    nodes: BTreeMap<String, Node>,
    /// By name, so that the same policies give the same reasons whatever their order (N12).
    policies: Vec<Policy>,
}

/// What the specification says about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the connection must come about.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The rules that were used.
    pub rules: BTreeSet<RuleId>,
}

/// A flow that cannot be judged, because one of its ends does not exist or has no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unjudgeable {
    /// The cluster holds no such pod or node.
    #[error("the cluster has no {0}")]
    NoSuchEnd(End),
    /// It has no address of the flow's family.
    #[error("{0} has no {1} address")]
    NoAddress(End, Family),
}

/// One end of a flow, resolved.
pub(crate) struct Party<'a> {
    address: IpAddr,
    /// A pod with a network of its own. Others are never subject nor selector peer (N56).
    pub(crate) pod: Option<(&'a PodName, &'a Pod)>,
    /// The node whose own traffic this is.
    pub(crate) node: Option<&'a str>,
}

impl Specification {
    /// Checks the policies of a cluster.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, at once.
    pub fn new(cluster: &Cluster) -> Result<Self, Vec<InvalidPolicy>> {
        let mut invalid = Vec::new();
        let mut policies = BTreeMap::new();
        for policy in &cluster.policies {
            match compile(policy) {
                Err(found) => invalid.extend(found),
                Ok(policy) => {
                    if let Some(earlier) = policies.insert(policy.name.clone(), policy) {
                        let what = "there are two policies of this name".to_owned();
                        let (field, cause) = ("metadata.name".to_owned(), Cause::FieldValueDuplicate);
                        invalid.push(InvalidPolicy { policy: earlier.name, field, cause, rule: None, what });
                    }
                }
            }
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let named = cluster.namespaces.iter().map(|(name, namespace)| {
            let mut labels = namespace.labels.clone();
            labels.insert(NAMESPACE_NAME.to_owned(), name.clone());
            (name.clone(), labels)
        });
        Ok(Specification {
            namespaces: named.collect(),
            pods: cluster.pods.clone(),
            nodes: cluster.nodes.clone(),
            policies: policies.into_values().collect(),
        })
    }

    /// What the specification says about a new connection.
    ///
    /// # Errors
    /// An end that does not exist, or has no address of the flow's family.
    pub fn judge(&self, flow: &Flow) -> Result<Judgement, Unjudgeable> {
        let (from, to) = (self.resolve(&flow.from, flow.family)?, self.resolve(&flow.to, flow.family)?);
        let mut rules = BTreeSet::new();
        let (egress, ingress) = if flow.from == flow.to {
            rules.insert(N(50));
            (Side::Itself, Side::Itself)
        } else {
            let egress = match from.pod {
                Some(subject) => self.side(Direction::Egress, subject, &to, flow.traffic, &mut rules),
                None => Side::NoSubject,
            };
            let ingress = match to.pod {
                // Kubelet probes depend on it.
                Some((_, pod)) if from.node == Some(pod.node.as_str()) => {
                    rules.insert(N(53));
                    Side::OwnNode
                }
                Some(subject) => self.side(Direction::Ingress, subject, &from, flow.traffic, &mut rules),
                None => Side::NoSubject,
            };
            (egress, ingress)
        };
        let allowed = egress.allows() && ingress.allows();
        self.cite_ends(flow, &from, &to, allowed, &mut rules);
        Ok(Judgement {
            allowed,
            reason: Reason { from: flow.from.clone(), to: flow.to.clone(), egress, ingress },
            rules,
        })
    }

    fn resolve<'a>(&'a self, end: &'a End, family: Family) -> Result<Party<'a>, Unjudgeable> {
        let missing = || Unjudgeable::NoSuchEnd(end.clone());
        let pick = |ips: &[IpAddr]| {
            let found = ips.iter().copied().find(|ip| Family::of(*ip) == family);
            found.ok_or_else(|| Unjudgeable::NoAddress(end.clone(), family))
        };
        match end {
            End::Pod(name) => {
                let pod = self.pods.get(name).ok_or_else(missing)?;
                let own_network = !pod.host_network;
                Ok(Party {
                    address: pick(&pod.ips)?,
                    pod: own_network.then_some((name, pod)),
                    node: pod.host_network.then_some(pod.node.as_str()),
                })
            }
            End::Node(name) => {
                let node = self.nodes.get(name).ok_or_else(missing)?;
                Ok(Party { address: pick(&node.ips)?, pod: None, node: Some(name) })
            }
            End::Outside(address) => Ok(Party { address: pick(&[*address])?, pod: None, node: None }),
        }
    }

    /// The policies that isolate a pod for a direction, with their rules of it (N3, N10, N11).
    fn isolating(&self, direction: Direction, (name, pod): (&PodName, &Pod)) -> Vec<(&Policy, &[Rule])> {
        let of_namespace = self.policies.iter().filter(|policy| policy.name.namespace == name.namespace);
        let selecting = of_namespace.filter(|policy| policy.subjects.matches(&pod.labels));
        selecting.filter_map(|policy| policy.rules(direction).map(|rules| (policy, rules))).collect()
    }

    fn side(
        &self,
        direction: Direction,
        subject: (&PodName, &Pod),
        peer: &Party<'_>,
        traffic: Traffic,
        cited: &mut BTreeSet<RuleId>,
    ) -> Side {
        let isolating = self.isolating(direction, subject);
        if isolating.is_empty() {
            cited.insert(N(1));
            return Side::NotIsolated;
        }
        cited.insert(N(3));
        if isolating.len() > 1 {
            cited.insert(N(12));
        }
        // Named ports are those of the receiving pod, whichever end is the subject (N40).
        let receiver = match direction {
            Direction::Ingress => Some(subject.1),
            Direction::Egress => peer.pod.map(|(_, pod)| pod),
        };
        let mut denying = Vec::new();
        let mut excepted = false;
        for (policy, rules) in isolating {
            let mut misses = Vec::new();
            for (index, rule) in rules.iter().enumerate() {
                match self.rule(policy, rule, peer, traffic, receiver) {
                    Ok((peer_index, port_index)) => {
                        cite_match(rule, peer_index, port_index, peer, traffic, cited);
                        if excepted {
                            cited.insert(N(30));
                        }
                        let policy = policy.name.clone();
                        return Side::Allowed(AllowedBy { policy, rule: index, peer: peer_index, port: port_index });
                    }
                    Err(PartMissed::Port) => misses.push(Miss::Port { rule: index }),
                    Err(PartMissed::Peer(excepted_by)) => {
                        excepted |= excepted_by.is_some();
                        misses.push(Miss::Peer { rule: index, excepted_by });
                    }
                }
            }
            denying.push(Isolating { policy: policy.name.clone(), misses });
        }
        cite_denial(&denying, traffic, cited);
        Side::Denied(denying)
    }

    /// Peer and port must both match; list items are alternatives (N19). Gives the matching entries' indices.
    fn rule(
        &self,
        policy: &Policy,
        rule: &Rule,
        peer: &Party<'_>,
        traffic: Traffic,
        receiver: Option<&Pod>,
    ) -> Result<(Option<usize>, Option<usize>), PartMissed> {
        let peer_index = rule.peers.iter().position(|entry| self.peer(policy, entry, peer) == Membership::Within);
        if peer_index.is_none() && !rule.peers.is_empty() {
            let excepted = |entry: &Peer| matches!(self.peer(policy, entry, peer), Membership::Excepted(_));
            return Err(PartMissed::Peer(rule.peers.iter().position(excepted)));
        }
        let port_index = rule.ports.iter().position(|port| port.matches(traffic, receiver));
        if port_index.is_none() && !rule.ports.is_empty() {
            return Err(PartMissed::Port);
        }
        Ok((peer_index, port_index))
    }

    fn peer(&self, policy: &Policy, entry: &Peer, peer: &Party<'_>) -> Membership {
        let (namespaces, pods) = match entry {
            Peer::Block(block) => return block.membership(peer.address),
            Peer::Pods { namespaces, pods } => (namespaces, pods),
        };
        let Some((name, pod)) = peer.pod else { return Membership::Without };
        let of_namespace = match namespaces {
            None => name.namespace == policy.name.namespace,
            Some(selector) => self.namespaces.get(&name.namespace).is_some_and(|labels| selector.matches(labels)),
        };
        let of_labels = pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels));
        if of_namespace && of_labels { Membership::Within } else { Membership::Without }
    }

    fn cite_ends(&self, flow: &Flow, from: &Party<'_>, to: &Party<'_>, allowed: bool, rules: &mut BTreeSet<RuleId>) {
        if flow.from == flow.to {
            return;
        }
        if from.pod.is_some() && to.pod.is_some() {
            rules.insert(N(14));
        }
        for (end, party) in [(&flow.from, from), (&flow.to, to)] {
            if matches!(end, End::Pod(_)) && party.pod.is_none() {
                rules.insert(N(56));
            }
        }
        match (from.node, to.node, from.pod, to.pod) {
            (Some(node), _, _, Some((_, pod))) if node != pod.node => rules.insert(N(55)),
            (_, Some(node), Some((_, pod)), _) if node == pod.node => rules.insert(N(54)),
            _ => false,
        };
        // Replies pass even where the way back is isolated (N15).
        let isolated = |direction, party: &Party<'_>| {
            party.pod.is_some_and(|subject| !self.isolating(direction, subject).is_empty())
        };
        if allowed && (isolated(Direction::Ingress, from) || isolated(Direction::Egress, to)) {
            rules.insert(N(15));
        }
    }
}

/// What of a rule did not match.
enum PartMissed {
    /// The index of a peer that holds the address in its `except`.
    Peer(Option<usize>),
    Port,
}
