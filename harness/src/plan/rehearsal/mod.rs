//! A case walked through on the oracle's cluster.

mod act;
mod judge;

use std::collections::BTreeMap;

use netpol_oracle as oracle;
use serde_json::Value;

use super::specification::{cluster, pod_name};
use super::{Action, Bindings, Case, Cell, Declared, Expected, LogOutcome, Matrix, Topology, cells};
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
            let alive = matches!(outcome, LogOutcome::Grows | LogOutcome::Unbroken | LogOutcome::Heard);
            if computed.allowed != alive {
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
        Action::Create(_) => "create",
        Action::Remove(_) => "remove",
        Action::Complete(_) => "complete",
        Action::Terminate(_) => "terminate",
        Action::RestartEnforcer | Action::RestartPods(_) => "restart",
        Action::Wait(_) => "wait",
    }
}
