//! One combination of a suite's parameters, converted to a case.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::step::{Context, NamedCells};
use super::{names, outline};
use crate::decode::Report;
use crate::plan::{
    Action, Case, Cell, Endpoint, Hold, Level, LogWatch, Need, OUTSIDE, Step, Topology, Traffic, Transport,
    families_named,
};
use crate::topology::{declares, has_container, listens, serves};

/// A case, with the places at which its suite names cells.
pub(super) struct Converted {
    pub(super) case: Case,
    pub(super) named: NamedCells,
    /// Why it has no scored denied cell, or no scored allowed one.
    pub(super) one_sided: Option<String>,
}

/// Converts a suite without parameters; what is wrong goes into `report`. None if it is too little for a case.
pub(super) fn convert(
    id: String,
    file: &str,
    suite: &outline::Suite,
    topologies: &BTreeMap<String, Topology>,
    report: &mut Report,
) -> Option<Converted> {
    let description: String = required(suite.description.as_ref(), "description", report).unwrap_or_default();
    let level_name: Option<String> = required(suite.level.as_ref(), "level", report);
    let level = level_name.and_then(|name| names::level(&name, "level", report));
    let rules: Vec<String> = required(suite.rules.as_ref(), "rules", report).unwrap_or_default();
    let features: Vec<String> = optional(suite.features.as_ref(), "features", report).unwrap_or_default();
    let mut case = Case {
        id,
        file: file.to_owned(),
        description,
        features: features.into_iter().collect(),
        rules: names::rules(&rules, report),
        topology: required(suite.topology.as_ref(), "topology", report).unwrap_or_default(),
        exclusive: optional(suite.exclusive.as_ref(), "exclusive", report).unwrap_or(false),
        needs: BTreeSet::new(),
        endpoints: BTreeSet::new(),
        probes: BTreeMap::new(),
        holds: Vec::new(),
        logs: Vec::new(),
        steps: Vec::new(),
    };
    if suite.rules.is_some() && rules.is_empty() {
        report.add("rules", "the suite cites no rule".to_owned(), "cite the rules that it shows");
    }
    let topology = topologies.get(&case.topology);
    if topology.is_none() && suite.topology.is_some() {
        let known: Vec<&str> = topologies.keys().map(String::as_str).collect();
        let what = format!("there is no topology '{}': there is {}", case.topology, known.join(", "));
        report.add("topology", what, "name one of these");
    }
    // Without its topology nothing below has a meaning; a wrong level has been told already.
    let (topology, level) = (topology?, level.unwrap_or(Level::Core));
    case.endpoints = endpoints(suite.endpoints.as_ref(), topology, report);
    case.probes = probes(suite.probes.as_ref(), level, topology, &case.endpoints, report);
    case.needs = needs(suite, &case, topology, report);
    let steps: Vec<Value> = required(suite.steps.as_ref(), "steps", report).unwrap_or_default();
    if suite.steps.is_some() && steps.is_empty() {
        report.add("steps", "the suite has no steps".to_owned(), "add one");
    }
    case.holds = holds(suite.hold.as_ref(), &steps, level, topology, report);
    case.logs = logs(suite.logs.as_ref(), level, topology, report);

    let mut named = NamedCells::new();
    let mut context = Context { case: &case, topology, report, named: &mut named };
    let steps: Vec<_> = steps.iter().enumerate().filter_map(|(index, step)| context.step(index, step)).collect();
    case.steps = steps;
    let restarts = |step: &Step| step.actions.iter().any(|action| matches!(action, Action::RestartEnforcer));
    case.needs.extend(case.steps.iter().any(restarts).then_some(Need::EngineRestart));
    unique(case.steps.iter().map(|step| step.name.as_str()), "steps", "step", report);
    unique(case.holds.iter().map(|hold| hold.name.as_str()), "hold", "hold", report);
    unique(case.logs.iter().map(|log| log.name.as_str()), "logs", "log", report);
    never_judged(&case, report);
    let one_sided = optional(suite.one_sided.as_ref(), "one-sided", report);
    Some(Converted { case, named, one_sided })
}

fn required<T: DeserializeOwned>(value: Option<&Value>, key: &str, report: &mut Report) -> Option<T> {
    if value.is_none() {
        report.add("", format!("the key '{key}' is missing"), "add it");
    }
    optional(value, key, report)
}

fn optional<T: DeserializeOwned>(value: Option<&Value>, key: &str, report: &mut Report) -> Option<T> {
    value.and_then(|value| report.decode(value, key))
}

fn probes(
    value: Option<&Value>,
    level: Level,
    topology: &Topology,
    endpoints: &BTreeSet<Endpoint>,
    report: &mut Report,
) -> BTreeMap<Traffic, Level> {
    let entries: Vec<Value> = required(value, "probes", report).unwrap_or_default();
    if value.is_some() && entries.is_empty() {
        report.add("probes", "the suite has no probes".to_owned(), "add one, such as tcp/8888");
    }
    let mut probes = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("probes[{index}]");
        let levelled = match entry {
            Value::String(probe) => Some(outline::LevelledProbe { probe: probe.clone(), level: None }),
            other => report.decode(other, &path),
        };
        let Some(outline::LevelledProbe { probe, level: own }) = levelled else { continue };
        let own = own.and_then(|own| names::level(&own, &format!("{path}.level"), report)).unwrap_or(level);
        let Some(traffic) = names::probe(&probe, &path, report) else { continue };
        let services = endpoints.iter().filter_map(|to| topology.services.get(to.service()?));
        let served = services.into_iter().any(|service| serves(service, traffic));
        if !served && !topology.pods.values().any(|pod| listens(pod, traffic)) {
            let what = format!("no pod of topology {} listens on {traffic}", topology.name);
            report.add(&path, what, "probe a containerPort of its pods");
        }
        if let Transport::RefusedUdp(port) = traffic.transport
            && let Some(listener) = declares(topology, port)
        {
            let what = format!("pod {listener} of topology {} listens on port {port}", topology.name);
            report.add(&path, what, "name a port that none of its pods declares, such as refused-udp/9");
        }
        if probes.insert(traffic, own).is_some() {
            report.add(&path, format!("probe {traffic} is there twice"), "remove one of them");
        }
    }
    probes
}

/// Services that the matrix probes.
fn endpoints(value: Option<&Value>, topology: &Topology, report: &mut Report) -> BTreeSet<Endpoint> {
    let names: Vec<String> = optional(value, "endpoints", report).unwrap_or_default();
    let mut found = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("endpoints[{index}]");
        let Some(endpoint) = names::endpoint(name, &path, topology, report) else { continue };
        if let Endpoint::Pod(pod) = &endpoint {
            report.add(&path, format!("pod {pod} is probed anyway"), "name Services: svc/NAME, node-port/NAME@POD");
        } else if !found.insert(endpoint) {
            report.add(&path, format!("'{name}' is there twice"), "remove one of them");
        }
    }
    found
}

/// What the cluster must have: what the suite says, and what follows from its probes, placeholders and topology.
fn needs(suite: &outline::Suite, case: &Case, topology: &Topology, report: &mut Report) -> BTreeSet<Need> {
    let names: Vec<String> = optional(suite.needs.as_ref(), "needs", report).unwrap_or_default();
    let mut needs = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        match Need::parse(name) {
            Some(need) => drop(needs.insert(need)),
            None => {
                let what = format!("'{name}' is nothing that a cluster may lack");
                report.add(&format!("needs[{index}]"), what, "write two-nodes, ipv4, ipv6 or outside");
            }
        }
    }
    needs.extend(case.probes.keys().filter_map(|traffic| traffic.family).map(Need::of));
    families_named(&suite.steps.as_ref().map(Value::to_string).unwrap_or_default(), &mut needs);
    for pod in topology.pods.values() {
        families_named(&serde_json::to_string(pod).unwrap_or_default(), &mut needs);
    }
    if topology.slots.values().any(|slot| slot == OUTSIDE) {
        needs.insert(Need::Outside);
    }
    needs
}

fn holds(value: Option<&Value>, steps: &[Value], level: Level, topology: &Topology, report: &mut Report) -> Vec<Hold> {
    let entries: Vec<Value> = optional(value, "hold", report).unwrap_or_default();
    let mut holds = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("hold[{index}]");
        let Some(hold) = report.decode::<outline::Hold>(entry, &path) else { continue };
        let own = hold.level.and_then(|own| names::level(&own, &format!("{path}.level"), report)).unwrap_or(level);
        let cell = cell(&hold.from, ("from", &hold.to), &hold.probe, &path, topology, report);
        if cell.as_ref().is_some_and(|cell| !matches!(cell.traffic.transport, Transport::Tcp(_))) {
            let what = format!("a connection cannot be held over {}", hold.probe);
            report.add(&format!("{path}.probe"), what, "write tcp/PORT");
        }
        let after = hold.after.map(|after| {
            let position = steps.iter().position(|step| step.get("name").and_then(Value::as_str) == Some(&after));
            if position.is_none() {
                report.add(
                    &format!("{path}.after"),
                    format!("no step is named '{after}'"),
                    "name a step of this suite",
                );
            }
            position
        });
        if let (Some(cell), Some(after)) = (cell, after.map_or(Some(None), |position| position.map(Some))) {
            holds.push(Hold { name: hold.name, cell, after, level: own });
        }
    }
    holds
}

fn logs(value: Option<&Value>, level: Level, topology: &Topology, report: &mut Report) -> Vec<LogWatch> {
    let entries: Vec<Value> = optional(value, "logs", report).unwrap_or_default();
    let mut logs = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("logs[{index}]");
        let Some(log) = report.decode::<outline::Log>(entry, &path) else { continue };
        let own = log.level.and_then(|own| names::level(&own, &format!("{path}.level"), report)).unwrap_or(level);
        let cell = cell(&log.pod, ("pod", &log.to), &log.probe, &path, topology, report);
        let container = log.container.unwrap_or_else(|| "agent".to_owned());
        if cell.as_ref().is_some_and(|cell| !has_container(topology, &cell.from, &container)) {
            let what = format!("pod '{}' has no container '{container}'", log.pod);
            report.add(&format!("{path}.container"), what, "name one of its containers or init containers");
        }
        logs.extend(cell.map(|cell| LogWatch { name: log.name, cell, container, level: own }));
    }
    logs
}

/// The cell of a hold or log; `(key, to)`: under which key the prober stands, and the receiver.
fn cell(
    from: &str,
    (key, to): (&str, &str),
    probe: &str,
    path: &str,
    topology: &Topology,
    report: &mut Report,
) -> Option<Cell> {
    let from = names::pod(from, &format!("{path}.{key}"), topology, report);
    let to = names::pod(to, &format!("{path}.to"), topology, report);
    let place = format!("{path}.probe");
    let traffic = names::probe(probe, &place, report);
    let (receiver, traffic) = (to?, traffic?);
    let cell = Cell { from: from?, to: receiver.clone().into(), traffic };
    if topology.pods.get(&receiver).is_some_and(|pod| !listens(pod, cell.traffic)) {
        report.add(
            &place,
            format!("pod {} does not listen on {}", cell.to, cell.traffic),
            "name one of its containerPorts",
        );
    }
    Some(cell)
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, list: &str, kind: &str, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            report.add(
                &format!("{list}[{index}].name"),
                format!("two {kind}s are named '{name}'"),
                "give one another name",
            );
        }
    }
}

/// An expectation that is never evaluated is a mistake: a hold that no step asks about, or only before it is open; a log likewise.
fn never_judged(case: &Case, report: &mut Report) {
    for (index, hold) in case.holds.iter().enumerate() {
        let asked = |step: &crate::plan::Step| step.held.contains_key(&hold.name);
        let first = hold.after.map_or(0, |after| after + 1);
        if !case.steps.iter().skip(first).any(asked) {
            let what = format!("no step asks what became of hold '{}'", hold.name);
            report.add(&format!("hold[{index}]"), what, "add it under `held:` of a step after it is opened");
        }
        for (step, _) in case.steps.iter().enumerate().take(first).filter(|(_, step)| asked(step)) {
            let what = format!("hold '{}' is not open yet at this step", hold.name);
            report.add(&format!("steps[{step}].held.{}", hold.name), what, "ask in a later step, or open it earlier");
        }
    }
    for (index, log) in case.logs.iter().enumerate() {
        if !case.steps.iter().any(|step| step.logs.contains_key(&log.name)) {
            let what = format!("no step asks what became of log '{}'", log.name);
            report.add(&format!("logs[{index}]"), what, "add it under `logs:` of a step");
        }
    }
}
