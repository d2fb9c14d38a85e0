//! The small words of the format: probes, levels, rules.

use std::collections::BTreeSet;

use netpol_oracle::RuleId;

use crate::decode::Report;
use crate::plan::{Level, PodRef, Topology, Traffic};
use crate::topology::find_pod;

/// `tcp/8888`, `udp/53`, `icmp`, in either case: a parameter such as `TCP` serves a policy's port and a probe alike.
pub(super) fn probe(text: &str, path: &str, report: &mut Report) -> Option<Traffic> {
    let port = |digits: &str| digits.parse::<u16>().ok().filter(|port| *port != 0);
    let lower = text.to_ascii_lowercase();
    let found = match lower.split_once('/') {
        None if lower == "icmp" => Some(Traffic::Icmp),
        Some(("tcp", digits)) => port(digits).map(Traffic::Tcp),
        Some(("udp", digits)) => port(digits).map(Traffic::Udp),
        _ => None,
    };
    if found.is_none() {
        report.add(path, format!("'{text}' is not a probe"), "write tcp/PORT, udp/PORT or icmp");
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
