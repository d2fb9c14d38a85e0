//! Entries of an expectation: from the pods and probes that they name, or match, to cells.

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::{names, outline};
use crate::decode::Report;
use crate::plan::placeholder::join;
use crate::plan::{Case, Cell, Endpoint, PodRef, Topology, Traffic, takes};

/// A cell that an entry names.
pub(super) struct NamedCell {
    pub(super) cell: Cell,
    /// Whether a pattern or a list stood for it. Those name no cell of a pod to itself.
    pub(super) patterned: bool,
}

/// The cells of the case that `entry` names.
pub(super) fn named(
    case: &Case,
    topology: &Topology,
    entry: &outline::Cells,
    path: &str,
    report: &mut Report,
) -> Vec<NamedCell> {
    let from = pods(&entry.from, &join(path, "from"), topology, report);
    let to = endpoints(&entry.to, &join(path, "to"), case, topology, report);
    let probes = match &entry.probes {
        Some(probes) => self::probes(probes, &join(path, "probes"), case, report),
        None => Chosen { items: case.probes.keys().copied().collect(), patterned: false },
    };
    let patterned = from.patterned || to.patterned || probes.patterned;
    let mut cells = Vec::new();
    for from in &from.items {
        for to in &to.items {
            if patterned && to.pod() == Some(from) {
                continue;
            }
            for traffic in probes.items.iter().copied().filter(|traffic| takes(topology, to, *traffic)) {
                cells.push(NamedCell { cell: Cell { from: from.clone(), to: to.clone(), traffic }, patterned });
            }
        }
    }
    cells
}

/// What a text or a list of texts chose, in order and each once.
struct Chosen<T> {
    items: Vec<T>,
    /// Whether there were more texts than one, or a pattern.
    patterned: bool,
}

fn pods(texts: &outline::OneOrMore, path: &str, topology: &Topology, report: &mut Report) -> Chosen<PodRef> {
    let all: Vec<(PodRef, String)> = topology.pods.keys().map(|pod| (pod.clone(), pod.to_string())).collect();
    choose(texts, path, &all, report, |text, path, report| names::pod(text, path, topology, report))
}

fn endpoints(
    texts: &outline::OneOrMore,
    path: &str,
    case: &Case,
    topology: &Topology,
    report: &mut Report,
) -> Chosen<Endpoint> {
    let all = topology.pods.keys().cloned().map(Endpoint::Pod).chain(case.endpoints.iter().cloned());
    let all: Vec<(Endpoint, String)> = all.map(|endpoint| (endpoint.clone(), endpoint.to_string())).collect();
    choose(texts, path, &all, report, |text, path, report| {
        let found = names::endpoint(text, path, topology, report)?;
        if found.pod().is_none() && !case.endpoints.contains(&found) {
            report.add(path, format!("{found} is not one of this suite's endpoints"), "add it under `endpoints:`");
        }
        Some(found)
    })
}

fn probes(texts: &outline::OneOrMore, path: &str, case: &Case, report: &mut Report) -> Chosen<Traffic> {
    let all: Vec<(Traffic, String)> = case.probes.keys().map(|traffic| (*traffic, traffic.to_string())).collect();
    choose(texts, path, &all, report, |text, path, report| {
        let traffic = names::probe(text, path, report)?;
        if !case.probes.contains_key(&traffic) {
            let what = format!("probe {traffic} is not one of this suite's");
            report.add(path, what, "add it under `probes:`");
        }
        Some(traffic)
    })
}

/// What `texts` name: `name` alone; `*`, `x/*`, `*/b`, which match names; and `!pattern`, which takes away from what stands before it.
fn choose<T: Clone + PartialEq>(
    texts: &outline::OneOrMore,
    path: &str,
    all: &[(T, String)],
    report: &mut Report,
    find: impl Fn(&str, &str, &mut Report) -> Option<T>,
) -> Chosen<T> {
    let texts: Vec<(String, &str)> = match texts {
        outline::OneOrMore::One(text) => vec![(path.to_owned(), text)],
        outline::OneOrMore::More(texts) => {
            texts.iter().enumerate().map(|(index, text)| (format!("{path}[{index}]"), text.as_str())).collect()
        }
    };
    let mut chosen = Chosen { items: Vec::new(), patterned: texts.len() > 1 };
    for (place, text) in texts {
        let (taken_away, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let found: Vec<T> = if text.contains('*') {
            chosen.patterned = true;
            matching(text, &place, all, report)
        } else {
            find(text, &place, report).into_iter().collect()
        };
        if taken_away {
            if !chosen.items.iter().any(|item| found.contains(item)) && !found.is_empty() {
                let what = format!("'!{text}' takes nothing away from what stands before it");
                report.add(&place, what, "remove it, or write it behind the pattern that it limits");
            }
            chosen.items.retain(|item| !found.contains(item));
        } else {
            chosen.items.extend(found.into_iter().filter(|item| !chosen.items.contains(item)).collect::<Vec<_>>());
        }
    }
    chosen
}

fn matching<T: Clone>(text: &str, path: &str, all: &[(T, String)], report: &mut Report) -> Vec<T> {
    let everything = text == "*";
    let glob: Result<GlobMatcher, _> =
        GlobBuilder::new(text).literal_separator(true).build().map(|glob: Glob| glob.compile_matcher());
    let glob = match glob {
        Ok(glob) => glob,
        Err(error) => {
            report.add(path, format!("'{text}' is not a pattern: {}", error.kind()), "write a pattern such as x/*");
            return Vec::new();
        }
    };
    let found: Vec<T> =
        all.iter().filter(|(_, name)| everything || glob.is_match(name)).map(|(item, _)| item.clone()).collect();
    if found.is_empty() {
        let known: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        report.add(path, format!("'{text}' matches nothing: there is {}", known.join(", ")), "correct the pattern");
    }
    found
}
