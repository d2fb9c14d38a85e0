//! The small words of the format: probes, levels, rules.

use std::collections::BTreeSet;

use netpol_oracle::RuleId;

use crate::decode::Report;
use crate::plan::{Endpoint, Level, PodRef, Topology, Traffic};
use crate::topology::find_pod;

/// `tcp/8888`, `udp6/53`, `icmp` and their like.
pub(super) fn probe(text: &str, path: &str, report: &mut Report) -> Option<Traffic> {
    let found = Traffic::parse(text);
    if found.is_none() {
        let remedy = "write tcp/PORT, udp/PORT, sctp/PORT, icmp, refused-udp/PORT or fragmented-udp/PORT; tcp4/PORT, icmp6 and \
                      their like for one family";
        report.add(path, format!("'{text}' is not a probe"), remedy);
    }
    found
}

/// `core`, `extended`, `stateful`, `observed`.
pub(super) fn level(text: &str, path: &str, report: &mut Report) -> Option<Level> {
    match text {
        "core" => Some(Level::Core),
        "extended" => Some(Level::Extended),
        "stateful" => Some(Level::Stateful),
        "observed" => Some(Level::Observed),
        _ => {
            report.add(path, format!("'{text}' is not a level"), "write core, extended, stateful or observed");
            None
        }
    }
}

/// Numbers of rules that exist.
pub(super) fn rules(names: &[String], report: &mut Report) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("rules[{index}]");
        match name.parse::<RuleId>() {
            Err(error) => report.add(&path, error.to_string(), "cite a rule of docs/rules.md"),
            Ok(rule) => {
                if !rules.insert(rule.to_string()) {
                    report.add(&path, format!("rule {rule} is there twice"), "remove one of them");
                }
            }
        }
    }
    rules
}

/// `[ns/]pod` of the topology.
pub(super) fn pod(text: &str, path: &str, topology: &Topology, report: &mut Report) -> Option<PodRef> {
    find_pod(topology, text).map_err(|what| report.add(path, what, "name one of its pods")).ok()
}

/// A pod of the topology, `svc/NAME` or `node-port/NAME@POD`.
pub(super) fn endpoint(text: &str, path: &str, topology: &Topology, report: &mut Report) -> Option<Endpoint> {
    let remedy = if text.contains("svc/") || text.contains("node-port/") {
        "name one of its Services"
    } else {
        "name one of its pods"
    };
    Endpoint::parse(text, topology).map_err(|what| report.add(path, what, remedy)).ok()
}
