//! What a loaded and checked suite has become: cases of steps, cells, and what is expected of each cell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use serde_json::Value;

use super::{Endpoint, Need, Route, Traffic};

/// A pod by its logical names, as suites and topologies write them: `[ns/]pod`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// The logical namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How binding an expectation is; a profile says which levels a run asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The specification says MUST, and every engine does it.
    Core,
    /// The specification allows an engine to lack it; asserted where the engine claims the feature.
    Extended,
    /// What Calico and the walkthrough show, beyond the specification.
    Stateful,
    /// Reported, never asserted.
    Observed,
}

/// One cell of a matrix: who, to whom, with what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The prober.
    pub from: PodRef,
    /// What is probed.
    pub to: Endpoint,
    /// The probe.
    pub traffic: Traffic,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {}", self.from, self.to, self.traffic)
    }
}

/// What is expected of a cell, declared by hand and confirmed by the oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether the round trip must succeed.
    pub allowed: bool,
    /// How binding that is.
    pub level: Level,
    /// Self cells are measured and not scored unless the suite names them; cells that the specification leaves open, such as a Service
    /// some of whose backends are denied, never are.
    pub scored: bool,
    /// The oracle's reason in one sentence: which policy and rule allowed, or which policies isolate and why none allows.
    pub reason: String,
    /// The rules the oracle used, such as `N12`.
    pub rules: BTreeSet<String>,
    /// Where the probe goes.
    pub route: Route,
}

/// Every cell of a step.
pub type Matrix = BTreeMap<Cell, Expected>;

/// All that a run will do.
#[derive(Debug)]
pub struct Plan {
    /// Cases in the order of their ids.
    pub cases: Vec<Case>,
    /// The topologies they stand on, by name.
    pub topologies: BTreeMap<String, Topology>,
}

/// A cluster's worth of pods for cases to stand on.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The file's stem.
    pub name: String,
    /// Namespaces as written: logical names, own labels.
    pub namespaces: Vec<Namespace>,
    /// Pods as written: logical names; `${ip4:…}` placeholders in their arguments are still there.
    pub pods: BTreeMap<PodRef, Pod>,
    /// Which node slot (`a`, `b`, …) a pod wants: its annotation `netpol.dev/node`. Pods of one slot share a node; slots are
    /// spread over as many nodes as there are.
    pub slots: BTreeMap<PodRef, String>,
    /// Services as written.
    pub services: BTreeMap<PodRef, Service>,
    /// Pods that are not there at first: their annotation `netpol.dev/create` is `later`, and a step creates them.
    pub later: BTreeSet<PodRef>,
}

/// One case: a suite file, or one combination of its parameters.
#[derive(Debug, Clone)]
pub struct Case {
    /// `area/name`, or `area/name[proto=TCP]`.
    pub id: String,
    /// The suite's file, relative to the suites' folder.
    pub file: String,
    /// One sentence.
    pub description: String,
    /// Features that an engine must claim for this case to be scored.
    pub features: BTreeSet<String>,
    /// The rules it cites.
    pub rules: BTreeSet<String>,
    /// The topology's name.
    pub topology: String,
    /// Whether no other case may run at the same time.
    pub exclusive: bool,
    /// What the cluster must have: said by `needs:`, or following from probes, placeholders and the topology.
    pub needs: BTreeSet<Need>,
    /// What the matrix probes beside pods: Services.
    pub endpoints: BTreeSet<Endpoint>,
    /// The matrix's probes with their levels.
    pub probes: BTreeMap<Traffic, Level>,
    /// Connections opened before the first step, or after the step that their `after` names.
    pub holds: Vec<Hold>,
    /// Pods whose log lines are followed.
    pub logs: Vec<LogWatch>,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A connection that the case keeps open from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its name within the case.
    pub name: String,
    /// From where to where, with which probe (TCP).
    pub cell: Cell,
    /// The index of the step after which it is opened; none: before the first step.
    pub after: Option<usize>,
    /// How binding its outcome is.
    pub level: Level,
}

/// A container that logs a line per response it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWatch {
    /// Its name within the case.
    pub name: String,
    /// The cell that the lines depend on: the pod is `from`.
    pub cell: Cell,
    /// The container of the pod.
    pub container: String,
    /// How binding its outcome is.
    pub level: Level,
}

/// What a step asks of a held connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOutcome {
    /// Heartbeats go on.
    Survives,
    /// Heartbeats stop.
    Cut,
    /// Only reported.
    Reported,
}

/// What a step asks of a followed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutcome {
    /// New lines keep coming.
    Grows,
    /// Lines have kept coming from before the step's actions on.
    Unbroken,
    /// No new line comes.
    Stops,
    /// There is no line since the container began (N60).
    Silent,
    /// There is a line since the container began.
    Heard,
}

/// A step as planned; placeholders in its actions are bound when it is carried out.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// The declared expectation.
    pub declared: Declared,
    /// By the name of a hold.
    pub held: BTreeMap<String, HeldOutcome>,
    /// By the name of a log watch.
    pub logs: BTreeMap<String, LogOutcome>,
}

/// Expected outcomes as the suite declares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// These cells are denied, every other is allowed.
    Deny(BTreeSet<Cell>),
    /// These cells are allowed, every other is denied.
    Allow(BTreeSet<Cell>),
}

/// Something a step does to the cluster. Before binding, names are logical and placeholders stand; after it
/// ([`super::Rehearsal::perform`]) everything is real.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create or replace an object.
    Apply(Value),
    /// Create or replace an object that the API server must refuse.
    Rejected {
        /// The object.
        object: Value,
        /// The field that a cause must name.
        field: String,
        /// The type of that cause, such as `FieldValueInvalid`.
        cause: String,
    },
    /// Delete an object.
    Delete {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Its namespace; none for namespaces themselves.
        namespace: Option<String>,
    },
    /// JSON merge patch of an object.
    Patch {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Its namespace; none for namespaces themselves.
        namespace: Option<String>,
        /// RFC 7386.
        patch: Value,
    },
    /// Delete pods and create them again under the same names.
    Recreate(Vec<PodRef>),
    /// Create pods that are not there.
    Create(Vec<PodRef>),
    /// Delete pods, and wait until they are gone.
    Remove(Vec<PodRef>),
    /// End the agents of pods that are not restarted, and wait until they have completed.
    Complete(Vec<PodRef>),
    /// Delete pods, and do not wait: they go on until their grace period ends.
    Terminate(Vec<PodRef>),
    /// End the agents of pods, and wait until their containers run again.
    RestartPods(Vec<PodRef>),
    /// Restart the policy engine's pods.
    RestartEnforcer,
    /// Wait for something that has a name in `waits.rs`.
    Wait(String),
}

/// The real names and addresses behind the logical ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Real namespace by logical namespace.
    pub namespaces: BTreeMap<String, String>,
    /// Where each pod really is.
    pub pods: BTreeMap<PodRef, BoundPod>,
    /// Where each Service really is.
    pub services: BTreeMap<PodRef, BoundService>,
}

/// Where a Service really is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoundService {
    /// Its cluster IPs, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Its node ports, by transport and port of the Service.
    pub node_ports: BTreeMap<(String, u16), u16>,
}

/// Where a pod really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundPod {
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Its node's name.
    pub node: String,
    /// Its node's InternalIPs.
    pub node_ips: Vec<IpAddr>,
}
