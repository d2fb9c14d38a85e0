//! A case walked through on the oracle's cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_oracle as oracle;
use serde_json::Value;

use super::names::real_names;
use super::placeholder::bind;
use super::specification::{cluster, flow, place, pod_name};
use super::{Action, Bindings, Case, Cell, Declared, Expected, Level, LogOutcome, Matrix, Topology, cells};
use crate::Problem;

/// A cell on which the suite and the oracle do not agree: one of them is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The case's id.
    pub case: String,
    /// The suite's file.
    pub file: String,
    /// The index of the step.
    pub step: usize,
    /// The step's name.
    pub step_name: String,
    /// Which cell.
    pub cell: Cell,
    /// What the suite says: whether it is allowed.
    pub declared: bool,
    /// What the oracle says, with its reason and rules.
    pub computed: Expected,
    /// The place within the document.
    pub path: String,
}

/// The oracle's cluster, walked through a case step by step: with symbolic addresses when a plan is made, and with real ones
/// when it is carried out. Its names stay logical, so that its reasons are those of the suite.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    case: Case,
    topology: Topology,
    bindings: Bindings,
    cluster: oracle::Cluster,
    /// By namespace and name, logical and bound.
    policies: BTreeMap<(String, String), Value>,
    specification: oracle::Specification,
}

impl Rehearsal {
    /// A cluster that holds the topology's pods under `bindings`, and no policy.
    ///
    /// # Errors
    /// Pods of the topology that `bindings` lacks.
    pub fn new(case: &Case, topology: &Topology, bindings: &Bindings) -> Result<Self, Vec<Problem>> {
        let problem = |what| problem_of(case, None, what, "give every pod of the topology an address");
        let cluster = cluster(topology, bindings);
        let cluster = cluster.map_err(|whats| whats.into_iter().map(problem).collect::<Vec<_>>())?;
        let specification = oracle::Specification::new(&cluster)
            .map_err(|found| found.into_iter().map(|it| problem(it.to_string())).collect::<Vec<_>>())?;
        Ok(Rehearsal {
            case: case.clone(),
            topology: topology.clone(),
            bindings: bindings.clone(),
            cluster,
            policies: BTreeMap::new(),
            specification,
        })
    }

    /// Carries out the actions of step `step` on the oracle's cluster, and returns them as they are to be sent: real names and
    /// addresses, no placeholders.
    ///
    /// # Errors
    /// Placeholders without an address, policies that are invalid, objects to delete or patch that are not there.
    pub fn perform(&mut self, step: usize, bindings: &Bindings) -> Result<Vec<Action>, Vec<Problem>> {
        self.rebind(bindings);
        let actions = self.case.steps.get(step).map(|step| step.actions.clone()).unwrap_or_default();
        let (mut bound, mut problems) = (Vec::new(), Vec::new());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for action in &actions {
            let verb = verb(action);
            let count = counts.entry(verb).or_default();
            let path = format!("steps[{step}].{verb}[{count}]");
            *count += 1;
            match self.act(action, &path) {
                Ok(action) => bound.push(action),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(bound) } else { Err(problems) }
    }

    /// Gives pods their new addresses and nodes after they were created again.
    pub fn rebind(&mut self, bindings: &Bindings) {
        self.bindings = bindings.clone();
        for (pod, bound) in &bindings.pods {
            if let Some(known) = self.cluster.pods.get_mut(&pod_name(pod)) {
                known.ips.clone_from(&bound.ips);
                known.node.clone_from(&bound.node);
                self.cluster.nodes.insert(bound.node.clone(), oracle::Node { ips: bound.node_ips.clone() });
            }
        }
        // Policies that were valid before stay so: addresses of pods are no part of them.
        if let Ok(specification) = oracle::Specification::new(&self.cluster) {
            self.specification = specification;
        }
    }

    /// Every cell before the first policy: all allowed (N1).
    pub fn control(&self) -> Matrix {
        let named = |_: &Cell| false;
        cells(&self.case, &self.topology)
            .into_iter()
            .filter_map(|cell| self.expected(&cell, named(&cell)).map(|expected| (cell, expected)))
            .collect()
    }

    /// Every cell after step `step` was performed: declared and computed.
    ///
    /// # Errors
    /// Cells (and followed logs) on which suite and oracle do not agree.
    pub fn expect(&self, step: usize) -> Result<Matrix, Vec<Disagreement>> {
        let Some(planned) = self.case.steps.get(step) else { return Ok(Matrix::new()) };
        let (mut matrix, mut disagreements) = (Matrix::new(), Vec::new());
        let disagree = |cell: &Cell, computed: &Expected, path: &str| Disagreement {
            case: self.case.id.clone(),
            file: self.case.file.clone(),
            step,
            step_name: planned.name.clone(),
            cell: cell.clone(),
            declared: !computed.allowed,
            computed: computed.clone(),
            path: format!("steps[{step}].{path}"),
        };
        for cell in cells(&self.case, &self.topology) {
            let (named, declared) = match &planned.declared {
                Declared::Deny(denied) => (denied.contains(&cell), !denied.contains(&cell)),
                Declared::Allow(allowed) => (allowed.contains(&cell), allowed.contains(&cell)),
            };
            let Some(computed) = self.expected(&cell, named) else { continue };
            if computed.scored && computed.allowed != declared {
                disagreements.push(disagree(&cell, &computed, "expect"));
            }
            matrix.insert(cell, computed);
        }
        for (name, outcome) in &planned.logs {
            let Some(watch) = self.case.logs.iter().find(|watch| watch.name == *name) else { continue };
            let Some(computed) = self.cell(&watch.cell) else { continue };
            if computed.allowed != (*outcome == LogOutcome::Grows) {
                disagreements.push(disagree(&watch.cell, &computed, &format!("logs.{name}")));
            }
        }
        if disagreements.is_empty() { Ok(matrix) } else { Err(disagreements) }
    }

    /// What the oracle says now of any cell, such as that of a hold about to be opened or of a followed log; none if one of its
    /// pods does not exist. The level is that of the case's probe, or `core` where the case has none such.
    pub fn cell(&self, cell: &Cell) -> Option<Expected> {
        self.expected(cell, true)
    }

    fn expected(&self, cell: &Cell, named: bool) -> Option<Expected> {
        let judgement = self.specification.judge(&flow(cell, &self.bindings)).ok()?;
        Some(Expected {
            allowed: judgement.allowed,
            level: self.case.probes.get(&cell.traffic).copied().unwrap_or(Level::Core),
            scored: named || cell.from != cell.to,
            reason: judgement.reason.to_string(),
            rules: judgement.rules.iter().map(ToString::to_string).collect(),
        })
    }

    fn act(&mut self, action: &Action, path: &str) -> Result<Action, Vec<Problem>> {
        let namespaces = self.bindings.namespaces.clone();
        let real = |namespace: &Option<String>| {
            namespace.as_ref().map(|logical| namespaces.get(logical).unwrap_or(logical).clone())
        };
        match action {
            Action::Apply(object) => {
                let (logical, bound) = self.bind(object, path)?;
                self.put_policy(logical, path)?;
                Ok(Action::Apply(bound))
            }
            Action::Rejected { object, field, cause } => {
                let (logical, bound) = self.bind(object, path)?;
                self.refuses(logical, field, cause, path)?;
                Ok(Action::Rejected { object: bound, field: field.clone(), cause: cause.clone() })
            }
            Action::Delete { kind, name, namespace } => {
                let key = (namespace.clone().unwrap_or_default(), name.clone());
                if self.policies.remove(&key).is_none() {
                    let what = format!("there is no {kind} {}/{} to delete at this step", key.0, key.1);
                    return Err(vec![self.problem(path, what, "name one that an earlier step applied")]);
                }
                self.respecify(path, None)?;
                Ok(Action::Delete { kind: kind.clone(), name: name.clone(), namespace: real(namespace) })
            }
            Action::Patch { kind, name, namespace, patch } => {
                let (logical, bound) = self.bind(patch, &format!("{path}.patch"))?;
                self.patch(kind, name, namespace.as_deref(), &logical, path)?;
                // A namespace is its own name; what it is called really is known by its logical name.
                let name = if kind == "Namespace" { namespaces.get(name).unwrap_or(name) } else { name };
                Ok(Action::Patch { kind: kind.clone(), name: name.clone(), namespace: real(namespace), patch: bound })
            }
            Action::Recreate(pods) => {
                for pod in pods {
                    // Labels are those of the manifest again.
                    if place(&mut self.cluster, &self.topology, pod, &self.bindings).is_none() {
                        let what = format!("pod {pod} cannot be created again: it has no manifest or no address");
                        return Err(vec![self.problem(path, what, "name a pod of the topology")]);
                    }
                }
                self.respecify(path, None)?;
                Ok(action.clone())
            }
            Action::RestartEnforcer | Action::Wait(_) => Ok(action.clone()),
        }
    }

    /// The value without placeholders: for the oracle with logical names, and for the cluster with real ones.
    fn bind(&self, value: &Value, path: &str) -> Result<(Value, Value), Vec<Problem>> {
        let bound_with = |bindings: &Bindings| {
            bind(value, path, &self.topology, bindings).map_err(|wrong| {
                let problem = |(place, what): (String, String)| {
                    self.problem(&place, what, "name a pod or namespace of the suite's topology")
                };
                wrong.into_iter().map(problem).collect::<Vec<_>>()
            })
        };
        let mut logical_bindings = self.bindings.clone();
        logical_bindings.namespaces.iter_mut().for_each(|(logical, real)| logical.clone_into(real));
        let (logical, real) = (bound_with(&logical_bindings)?, bound_with(&self.bindings)?);
        Ok((logical, real_names(&real, &self.bindings.namespaces)))
    }

    fn put_policy(&mut self, object: Value, path: &str) -> Result<(), Vec<Problem>> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/metadata/namespace"), text("/metadata/name"));
        let before = self.policies.insert(key.clone(), object);
        let changed = self.respecify(path, Some(&key));
        if changed.is_err() {
            match before {
                Some(before) => self.policies.insert(key, before),
                None => self.policies.remove(&key),
            };
        }
        changed
    }

    fn patch(
        &mut self,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        patch: &Value,
        path: &str,
    ) -> Result<(), Vec<Problem>> {
        let absent = || {
            vec![self.problem(
                path,
                format!("there is no {kind} {name} to change at this step"),
                "name one that is there",
            )]
        };
        let namespace = namespace.unwrap_or_default().to_owned();
        let labels = match kind {
            "NetworkPolicy" => {
                let mut object = self.policies.get(&(namespace, name.to_owned())).cloned().ok_or_else(absent)?;
                json_patch::merge(&mut object, patch);
                return self.put_policy(object, path);
            }
            "Pod" => {
                let pod = oracle::PodName { namespace, name: name.to_owned() };
                if !self.cluster.pods.contains_key(&pod) {
                    return Err(absent());
                }
                self.cluster.pods.get_mut(&pod).map(|pod| &mut pod.labels)
            }
            _ => {
                if !self.cluster.namespaces.contains_key(name) {
                    return Err(absent());
                }
                self.cluster.namespaces.get_mut(name).map(|namespace| &mut namespace.labels)
            }
        };
        let changes = patch.pointer("/metadata/labels").and_then(Value::as_object);
        if let Some(labels) = labels {
            for (key, value) in changes.into_iter().flatten() {
                match value.as_str() {
                    Some(value) => drop(labels.insert(key.clone(), value.to_owned())),
                    None => drop(labels.remove(key)),
                }
            }
        }
        self.respecify(path, None)
    }

    /// Compiles the policies anew. What is wrong with the one of this key has its place within the document at `path`.
    fn respecify(&mut self, path: &str, key: Option<&(String, String)>) -> Result<(), Vec<Problem>> {
        let policies = self.decode_policies(path, key)?;
        let cluster = oracle::Cluster { policies, ..self.cluster.clone() };
        let specification = oracle::Specification::new(&cluster);
        self.specification = specification.map_err(|found| {
            let problem = |invalid: &oracle::InvalidPolicy| {
                let rule = invalid.rule.map(|rule| format!(" ({rule}, {})", invalid.cause)).unwrap_or_default();
                let place = format!("{path}.{}", invalid.field);
                self.problem(&place, format!("{}{rule}", invalid.what), "correct it, or say `rejected:` if it is meant")
            };
            found.iter().map(problem).collect::<Vec<_>>()
        })?;
        self.cluster = cluster;
        Ok(())
    }

    fn decode_policies(&self, path: &str, key: Option<&(String, String)>) -> Result<Vec<NetworkPolicy>, Vec<Problem>> {
        let mut policies = Vec::new();
        for (name, object) in &self.policies {
            match serde_json::from_value(object.clone()) {
                Ok(policy) => policies.push(policy),
                Err(error) => {
                    let which = if key == Some(name) { String::new() } else { format!(" ({}/{})", name.0, name.1) };
                    return Err(vec![self.problem(path, format!("{error}{which}"), "write a NetworkPolicy")]);
                }
            }
        }
        Ok(policies)
    }

    /// Holds a policy that must be refused against the oracle's validation.
    fn refuses(&self, object: Value, field: &str, cause: &str, path: &str) -> Result<(), Vec<Problem>> {
        let decoded: Result<NetworkPolicy, _> = serde_json::from_value(object);
        let policy = decoded.map_err(|error| vec![self.problem(path, error.to_string(), "write a NetworkPolicy")])?;
        let alone = oracle::Cluster { policies: vec![policy], ..self.cluster.clone() };
        let found = oracle::Specification::new(&alone).err().unwrap_or_default();
        if found.iter().any(|invalid| invalid.field == field && invalid.cause.to_string() == cause) {
            return Ok(());
        }
        let found: Vec<String> =
            found.iter().map(|invalid| format!("{} at {}", invalid.cause, invalid.field)).collect();
        let found = if found.is_empty() { "nothing wrong with it".to_owned() } else { found.join(", ") };
        let what = format!("the suite says that this is refused with {cause} at {field}; the oracle finds {found}");
        Err(vec![self.problem(path, what, "suite or oracle is wrong: correct that one")])
    }

    fn problem(&self, path: &str, what: String, remedy: &str) -> Problem {
        problem_of(&self.case, Some(path), what, remedy)
    }
}

fn problem_of(case: &Case, path: Option<&str>, what: String, remedy: &str) -> Problem {
    let path = path.map(str::to_owned);
    Problem { file: case.file.clone(), line: None, column: None, path, what, remedy: remedy.to_owned() }
}

/// The key of a step under which an action stands in the suite.
fn verb(action: &Action) -> &'static str {
    match action {
        Action::Apply(_) | Action::Rejected { .. } => "apply",
        Action::Delete { .. } => "delete",
        Action::Patch { kind, .. } if kind == "NetworkPolicy" => "patch",
        Action::Patch { .. } => "relabel",
        Action::Recreate(_) => "recreate",
        Action::RestartEnforcer => "restart",
        Action::Wait(_) => "wait",
    }
}
