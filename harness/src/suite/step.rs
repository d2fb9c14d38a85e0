//! Steps: from their keys to actions and expectations.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{cells, names, object, outline};
use crate::decode::Report;
use crate::plan::placeholder::join;
use crate::plan::{Action, Case, Cell, Declared, HeldOutcome, LogOutcome, PodRef, Step, Topology};
use crate::waits;

/// Where the suite names a cell: the index of the step and the place.
pub(super) type NamedCells = BTreeMap<(usize, Cell), String>;

/// What steps are read with: the case so far, with its probes, holds and logs.
pub(super) struct Context<'a> {
    pub(super) case: &'a Case,
    pub(super) topology: &'a Topology,
    pub(super) report: &'a mut Report,
    pub(super) named: &'a mut NamedCells,
}

impl Context<'_> {
    /// Reads step `index`. Its verbs are carried out in this order: relabel, apply, patch, delete, recreate, create, remove, complete,
    /// terminate, restart, wait.
    pub(super) fn step(&mut self, index: usize, value: &Value) -> Option<Step> {
        let path = format!("steps[{index}]");
        let outline: outline::Step = self.report.decode(value, &path)?;
        let name = match &outline.name {
            Some(name) => self.report.decode::<String>(name, &join(&path, "name")).unwrap_or_default(),
            None => {
                self.report.add(&path, "the step has no name".to_owned(), "add `name:`");
                String::new()
            }
        };
        let actions = self.actions(&outline, &path);
        let declared = self.declared(index, outline.expect.as_ref(), &path);
        let case = self.case;
        let held = self.outcomes(outline.held.as_ref(), &join(&path, "held"), |name, outcome| {
            if !case.holds.iter().any(|hold| hold.name == name) {
                return Err(format!("no hold is named '{name}'"));
            }
            match outcome {
                "survives" => Ok(HeldOutcome::Survives),
                "cut" => Ok(HeldOutcome::Cut),
                "reported" => Ok(HeldOutcome::Reported),
                _ => Err(format!("'{outcome}' is no outcome of a hold: survives, cut, reported are")),
            }
        });
        let logs = self.outcomes(outline.logs.as_ref(), &join(&path, "logs"), |name, outcome| {
            if !case.logs.iter().any(|log| log.name == name) {
                return Err(format!("no log is named '{name}'"));
            }
            match outcome {
                "grows" => Ok(LogOutcome::Grows),
                "unbroken" => Ok(LogOutcome::Unbroken),
                "stops" => Ok(LogOutcome::Stops),
                "silent" => Ok(LogOutcome::Silent),
                "heard" => Ok(LogOutcome::Heard),
                _ => Err(format!("'{outcome}' is no outcome of a log: grows, unbroken, stops, silent, heard are")),
            }
        });
        Some(Step { name, actions, declared: declared?, held, logs })
    }

    fn actions(&mut self, outline: &outline::Step, path: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        for (path, relabel) in self.list::<outline::Relabel>(outline.relabel.as_ref(), path, "relabel") {
            actions.extend(self.relabel(&relabel, &path));
        }
        actions.extend(self.apply(outline, path));
        for (path, patch) in self.list::<outline::Patch>(outline.patch.as_ref(), path, "patch") {
            object::check_kind(&patch.kind, &path, self.report);
            object::namespace(&patch.namespace, &join(&path, "namespace"), self.topology, self.report);
            object::placeholders(&patch.patch, &join(&path, "patch"), self.topology, self.report);
            let outline::Patch { kind, name, namespace, patch } = patch;
            actions.push(Action::Patch { kind, name, namespace: Some(namespace), patch });
        }
        for (path, reference) in self.list::<outline::Reference>(outline.delete.as_ref(), path, "delete") {
            object::check_kind(&reference.kind, &path, self.report);
            object::namespace(&reference.namespace, &join(&path, "namespace"), self.topology, self.report);
            let outline::Reference { kind, name, namespace } = reference;
            actions.push(Action::Delete { kind, name, namespace: Some(namespace) });
        }
        type OfPods = fn(Vec<PodRef>) -> Action;
        let of_pods: [(&str, Option<&Value>, OfPods); 5] = [
            ("recreate", outline.recreate.as_ref(), Action::Recreate),
            ("create", outline.create.as_ref(), Action::Create),
            ("remove", outline.remove.as_ref(), Action::Remove),
            ("complete", outline.complete.as_ref(), Action::Complete),
            ("terminate", outline.terminate.as_ref(), Action::Terminate),
        ];
        for (verb, value, action) in of_pods {
            let pods = self.pods(value, path, verb);
            actions.extend((!pods.is_empty()).then(|| action(pods)));
        }
        match outline.restart.as_ref() {
            Some(Value::String(what)) if what == "enforcer" => actions.push(Action::RestartEnforcer),
            Some(Value::String(what)) => {
                let what = format!("'{what}' cannot be restarted");
                self.report.add(&join(path, "restart"), what, "write enforcer, or a list of pods");
            }
            list => {
                let pods = self.pods(list, path, "restart");
                actions.extend((!pods.is_empty()).then(|| Action::RestartPods(pods)));
            }
        }
        if let Some(name) = self.text(outline.wait.as_ref(), path, "wait") {
            if !waits::NAMED.iter().any(|wait| wait.name == name) {
                let known: Vec<&str> = waits::NAMED.iter().map(|wait| wait.name).collect();
                let what = format!("there is no wait named '{name}': there is {}", known.join(", "));
                self.report.add(&join(path, "wait"), what, "name one of these");
            }
            actions.push(Action::Wait(name));
        }
        actions
    }

    fn pods(&mut self, value: Option<&Value>, path: &str, key: &str) -> Vec<PodRef> {
        let names = self.list::<String>(value, path, key);
        names.iter().filter_map(|(path, name)| names::pod(name, path, self.topology, self.report)).collect()
    }

    fn relabel(&mut self, relabel: &outline::Relabel, path: &str) -> Option<Action> {
        let patch = json!({"metadata": {"labels": relabel.labels}});
        for (key, value) in relabel.labels.iter().filter(|(_, value)| !value.is_string() && !value.is_null()) {
            let what = format!("the label's value {value} is neither text nor null");
            self.report.add(&join(path, &format!("labels.{key}")), what, "put it into quotes");
        }
        match (&relabel.pod, &relabel.namespace) {
            (Some(pod), None) => {
                let PodRef { namespace, name } = names::pod(pod, &join(path, "pod"), self.topology, self.report)?;
                Some(Action::Patch { kind: "Pod".to_owned(), name, namespace: Some(namespace), patch })
            }
            (None, Some(name)) => {
                object::namespace(name, &join(path, "namespace"), self.topology, self.report);
                Some(Action::Patch { kind: "Namespace".to_owned(), name: name.clone(), namespace: None, patch })
            }
            _ => {
                let what = "either a pod or a namespace is given new labels".to_owned();
                self.report.add(path, what, "write `pod:` or `namespace:`, not both (pods: NAMESPACE/POD)");
                None
            }
        }
    }

    fn apply(&mut self, outline: &outline::Step, path: &str) -> Vec<Action> {
        let objects = self.list::<Value>(outline.apply.as_ref(), path, "apply");
        for (path, object) in &objects {
            object::check(object, path, self.topology, self.report);
        }
        let Some(rejected) = &outline.rejected else {
            return objects.into_iter().map(|(_, object)| Action::Apply(object)).collect();
        };
        let place = join(path, "rejected");
        let Some(outline::Rejected { field, cause }) = self.report.decode(rejected, &place) else { return Vec::new() };
        if objects.len() != 1 {
            let what = format!("`rejected` is about one object, and the step applies {}", objects.len());
            self.report.add(&place, what, "apply one object in this step");
        }
        let refused = |(_, object)| Action::Rejected { object, field: field.clone(), cause: cause.clone() };
        objects.into_iter().map(refused).collect()
    }

    fn declared(&mut self, index: usize, expect: Option<&Value>, path: &str) -> Option<Declared> {
        let Some(expect) = expect else {
            self.report.add(
                path,
                "the step expects nothing".to_owned(),
                "add `expect: {deny: […]}`; [] if all is allowed",
            );
            return None;
        };
        let path = join(path, "expect");
        let outline::Expect { deny, allow } = self.report.decode(expect, &path)?;
        match (deny, allow) {
            (Some(deny), None) => Some(Declared::Deny(self.cells(index, &deny, &join(&path, "deny")))),
            (None, Some(allow)) => Some(Declared::Allow(self.cells(index, &allow, &join(&path, "allow")))),
            (Some(_), Some(_)) => {
                self.report.add(
                    &path,
                    "both `deny` and `allow` are given".to_owned(),
                    "keep the shorter one: it implies the other",
                );
                None
            }
            (None, None) => {
                self.report.add(
                    &path,
                    "neither `deny` nor `allow` is given".to_owned(),
                    "add `deny: […]`; [] if all is allowed",
                );
                None
            }
        }
    }

    /// The cells that the entries name. Two entries may overlap only where one of them has a pattern.
    fn cells(&mut self, step: usize, entries: &[Value], path: &str) -> BTreeSet<Cell> {
        let mut found: BTreeMap<Cell, bool> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(entry) = self.report.decode::<outline::Cells>(entry, &path) else { continue };
            for named in cells::named(self.case, self.topology, &entry, &path, self.report) {
                let literal = |patterned: &bool| !patterned && !named.patterned;
                if found.get(&named.cell).is_some_and(literal) {
                    let Cell { from, to, traffic } = &named.cell;
                    self.report.add(
                        &path,
                        format!("the cell {from} → {to} {traffic} is there twice"),
                        "remove one of them",
                    );
                }
                if !named.patterned || named.cell.to.pod() != Some(&named.cell.from) {
                    self.named.insert((step, named.cell.clone()), path.clone());
                }
                found.insert(named.cell, named.patterned);
            }
        }
        found.into_keys().collect()
    }

    fn outcomes<T>(
        &mut self,
        value: Option<&Value>,
        path: &str,
        read: impl Fn(&str, &str) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let Some(value) = value else { return BTreeMap::new() };
        let mut outcomes = BTreeMap::new();
        for (name, outcome) in self.report.decode::<BTreeMap<String, String>>(value, path).unwrap_or_default() {
            match read(&name, &outcome) {
                Ok(outcome) => drop(outcomes.insert(name, outcome)),
                Err(what) => self.report.add(&join(path, &name), what, "correct its spelling"),
            }
        }
        outcomes
    }

    fn list<T: DeserializeOwned>(&mut self, value: Option<&Value>, path: &str, key: &str) -> Vec<(String, T)> {
        let path = join(path, key);
        let items = value.and_then(|value| self.report.decode::<Vec<Value>>(value, &path)).unwrap_or_default();
        let items = items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item));
        items.filter_map(|(path, item)| self.report.decode(item, &path).map(|item| (path, item))).collect()
    }

    fn text(&mut self, value: Option<&Value>, path: &str, key: &str) -> Option<String> {
        value.and_then(|value| self.report.decode(value, &join(path, key)))
    }
}
