//! The barrier: a pair of pods per node whose policy is flipped after each change. When a node's canary follows, the engine there
//! has read everything before it.
//!
//! Between steps the canary is closed; the barrier opens it, which shows within a round trip; while the step settles it is
//! closed again, which takes a probe's whole timeout to see.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::WorldError;
use super::boot::{create_namespace, create_pod, open_sessions};
use super::numbering::Numbering;
use super::pods::until_running;
use crate::cluster::{Cluster, ObjectError, Objects};
use crate::plan::{Bindings, BoundPod, Cell, PodRef, Route, Traffic, Transport};
use crate::probe::{Member, Verdict, sample, watch};
use crate::waits;

const PORT: u16 = 8888;
/// The label that is changed to see who reads labels.
const FLIP: &str = "netpol.dev/flip";
const LOGICAL: &str = "netpol-canary";
/// A silence that is the API server's rather than a canary's.
const OUTAGE: Duration = Duration::from_secs(1);

/// A source and a target on every node of a world. Whichever world a lane is in, it has the same canaries.
pub struct Canary {
    /// Their real namespace.
    namespace: String,
    /// Whether anything in this cluster followed their first policy.
    pub enforced: bool,
    members: BTreeMap<PodRef, Member>,
    /// By node: from its source to its target.
    pairs: BTreeMap<String, (Cell, Route)>,
    /// Counts the flips by labels: each has a value of its own.
    generation: AtomicU32,
    /// Whether they were closed since they were last opened; who did not follow then has been told of.
    armed: AtomicBool,
}

/// Who followed a flip, and how soon.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// By node: from sending the policy to the first probe that showed it.
    pub after: BTreeMap<String, Duration>,
    /// Nodes that did not follow in time.
    pub missing: BTreeSet<String>,
    /// Those of them whose canary could not be measured even once, and all of them where the API server, from which engines learn,
    /// was silent meanwhile: that says nothing about the engine.
    pub unseen: BTreeSet<String>,
}

impl Followed {
    /// The slowest node's latency.
    pub fn slowest(&self) -> Duration {
        self.after.values().max().copied().unwrap_or_default()
    }
}

impl Canary {
    /// Starts a pair per node, waits until each is open, because what is closed without a policy would follow every flip, and closes them:
    /// whether any node follows tells whether the cluster enforces policies at all (N65).
    pub(super) async fn boot(cluster: &Cluster, number: u32, nodes: &BTreeSet<String>) -> Result<Self, WorldError> {
        let namespace = create_namespace(cluster, number, LOGICAL, &Namespace::default()).await?;
        let pod =
            |role: &str, index: usize| PodRef { namespace: LOGICAL.into(), name: format!("{role}-{}", index + 1) };
        let mut placed: BTreeMap<PodRef, String> = BTreeMap::new();
        let mut pairs = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let (from, to) = (pod("source", index), pod("target", index));
            placed.extend([(from.clone(), node.clone()), (to.clone(), node.clone())]);
            pairs.insert(node.clone(), (from, to));
        }
        let created = placed.iter().map(|(pod, node)| {
            let manifest = manifest(&namespace, pod);
            async move { create_pod(cluster, number, manifest?, node, false).await }
        });
        try_join_all(created).await?;
        let names = placed.keys().map(|pod| (namespace.clone(), pod.name.clone())).collect();
        let mut running = until_running(cluster, number, &names).await?;
        let bound = placed.into_iter().map(|(pod, node)| {
            let ips = running.remove(&(namespace.clone(), pod.name.clone())).unwrap_or_default();
            (pod, BoundPod { ips, node, node_ips: Vec::new() })
        });
        let bound: BTreeMap<PodRef, BoundPod> = bound.collect();
        let bindings = Bindings { namespaces: [(LOGICAL.into(), namespace.clone())].into(), ..Bindings::default() };
        let pairs = pairs.into_iter().filter_map(|(node, (from, to))| {
            let transport = Transport::Tcp(PORT);
            let address = *bound.get(&to)?.ips.first()?;
            let route = Route { to: address, transport, receivers: [(to.clone(), transport)].into() };
            Some((node, (Cell { from, to: to.into(), traffic: Traffic::primary(transport) }, route)))
        });
        let pairs = pairs.collect();
        let members = open_sessions(cluster, &bindings, &bound, &Numbering::of(bound.keys())).await?;
        let mut canary = Canary {
            namespace,
            enforced: false,
            members,
            pairs,
            generation: AtomicU32::new(0),
            armed: AtomicBool::new(false),
        };
        canary.control().await?;
        canary.enforced = !canary.arm(&cluster.objects).await?.after.is_empty();
        Ok(canary)
    }

    /// The nodes that they are on.
    pub fn nodes(&self) -> impl Iterator<Item = &String> {
        self.pairs.keys()
    }

    /// Waits until every pair is open, while no policy is there.
    async fn control(&self) -> Result<(), WorldError> {
        let cells: BTreeMap<_, _> = self.pairs.values().cloned().collect();
        let start = Instant::now();
        loop {
            let round = sample(&self.members, &cells, waits::PROBE_AT_MOST).await;
            let closed = round.cells.iter().find(|(_, seen)| seen.verdict != Verdict::Allowed);
            let Some((cell, seen)) = closed else { return Ok(()) };
            if start.elapsed() > waits::CONTROL_PASSES.limit {
                return Err(WorldError::Late {
                    what: format!("canary {cell} to be open although no policy is there (N1); it is {}", seen.verdict),
                    wait: waits::CONTROL_PASSES,
                    paste: format!("get pods -n {} -o wide", self.namespace),
                });
            }
        }
    }

    /// Opens the canaries and waits until every node's has followed: the barrier.
    ///
    /// # Errors
    /// [`ObjectError`] when the policy cannot be applied; nodes that do not follow are in [`Followed::missing`].
    pub async fn open(&self, objects: &Objects) -> Result<Followed, ObjectError> {
        self.flip_armed(objects, Flip::Open).await
    }

    /// Opens the canaries by new labels of their sources and of their namespace: who follows has read the labels of pods and namespaces
    /// that were changed before, and the policies as well.
    ///
    /// # Errors
    /// As [`Canary::open`].
    pub async fn open_by_labels(&self, objects: &Objects) -> Result<Followed, ObjectError> {
        let value = (self.generation.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let patch = json!({"metadata": {"labels": {FLIP: value}}});
        for (cell, _) in self.pairs.values() {
            objects.patch("Pod", &cell.from.name, Some(&self.namespace), &patch).await?;
        }
        objects.patch("Namespace", &self.namespace, None, &patch).await?;
        self.flip_armed(objects, Flip::OpenTo(value)).await
    }

    /// Closes the canaries again, for the next barrier.
    ///
    /// # Errors
    /// As [`Canary::open`].
    pub async fn arm(&self, objects: &Objects) -> Result<Followed, ObjectError> {
        let followed = self.flip(objects, Flip::Close).await?;
        self.armed.store(true, Ordering::Relaxed);
        Ok(followed)
    }

    /// Whether they were closed since they were last opened.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// What is open already would follow at once, and prove nothing: a step that could not be judged leaves canaries so.
    async fn flip_armed(&self, objects: &Objects, flip: Flip) -> Result<Followed, ObjectError> {
        if !self.is_armed() {
            self.arm(objects).await?;
        }
        self.armed.store(false, Ordering::Relaxed);
        self.flip(objects, flip).await
    }

    async fn flip(&self, objects: &Objects, flip: Flip) -> Result<Followed, ObjectError> {
        let open = flip != Flip::Close;
        let start = Instant::now();
        objects.apply(&policy(&self.namespace, &flip)).await?;
        let nodes: BTreeSet<_> = self.pairs.keys().cloned().collect();
        let mut followed = Followed { after: BTreeMap::new(), missing: nodes.clone(), unseen: nodes };
        let watches = self.pairs.iter().map(|(node, pair)| async move { (node, self.follow(pair, open).await) });
        let mut watches: FuturesUnordered<_> = watches.collect();
        let (mut silent, mut away) = (pin!(self.silence(objects)), false);
        loop {
            tokio::select! {
                () = &mut silent, if !away => away = true,
                ended = watches.next() => {
                    let Some((node, Follows { at, measured })) = ended else { break };
                    if measured {
                        followed.unseen.remove(node);
                    }
                    if let Some(at) = at {
                        followed.after.insert(node.clone(), at.saturating_duration_since(start));
                        followed.missing.remove(node);
                    }
                }
            }
        }
        if away {
            followed.unseen.clone_from(&followed.missing);
        }
        Ok(followed)
    }

    /// Waits until one pair has opened or closed, for [`waits::CANARY_FOLLOWS`] at most.
    async fn follow(&self, (cell, route): &(Cell, Route), open: bool) -> Follows {
        let mut since = Instant::now();
        let mut follows = Follows { at: None, measured: false };
        loop {
            let left = waits::CANARY_FOLLOWS.limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                return follows;
            }
            let asked = Instant::now();
            let seen = watch(&self.members, (cell, route), open, left.min(waits::CANARY_WATCH)).await;
            // While nobody can be asked nobody can follow: such time does not count, and is bounded by that of the sessions.
            since += asked.elapsed().saturating_sub(waits::CANARY_WATCH + OUTAGE);
            match seen {
                Ok(seen) => {
                    follows.measured |= seen.verdict != Verdict::NotMeasured;
                    // Unlike a verdict, a flip that shows one way is enough: the matrix is judged after it anyway.
                    if seen.verdict.satisfies(open) {
                        return Follows { at: Some(seen.sent), ..follows };
                    }
                }
                Err(why) => {
                    tracing::debug!(%cell, why, "watching a canary");
                    tokio::time::sleep(waits::CANARY_LATER).await;
                }
            }
        }
    }

    /// Resolves once the API server has not answered for [`OUTAGE`].
    async fn silence(&self, objects: &Objects) {
        loop {
            tokio::time::sleep(OUTAGE / 2).await;
            if !objects.answers(&self.namespace, OUTAGE).await {
                return;
            }
        }
    }
}

/// What became of one pair.
struct Follows {
    /// When the first probe was sent that showed the change.
    at: Option<Instant>,
    /// Whether any probe told anything.
    measured: bool,
}

/// What the canaries' policy lets in.
#[derive(PartialEq, Eq)]
enum Flip {
    Close,
    Open,
    /// Sources with this value of the label [`FLIP`], in a namespace with the same.
    OpenTo(String),
}

fn policy(namespace: &str, flip: &Flip) -> Value {
    let ingress = match flip {
        Flip::Close => json!([]),
        Flip::Open => json!([{}]),
        Flip::OpenTo(value) => {
            let labelled = json!({"matchLabels": {FLIP: value}});
            json!([{"from": [{"podSelector": labelled, "namespaceSelector": labelled}]}])
        }
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "canary", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"netpol.dev/canary": "target"}}, "policyTypes": ["Ingress"], "ingress": ingress},
    })
}

fn manifest(namespace: &str, pod: &PodRef) -> Result<Pod, WorldError> {
    let role = pod.name.split('-').next().unwrap_or_default();
    let manifest = json!({
        "metadata": {"name": pod.name, "namespace": namespace, "labels": {"netpol.dev/canary": role}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "agent",
                "image": "netpol",
                "args": ["agent", "server", "--port", PORT.to_string()],
                "ports": [{"containerPort": PORT}],
            }],
        },
    });
    serde_json::from_value(manifest).map_err(|error| WorldError::Object(ObjectError::Malformed(error)))
}
