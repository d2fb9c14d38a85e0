//! One step: act, wait for the barrier, agree, settle, and judge what was measured.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use super::followed_logs::FollowedLogs;
use super::held::HeldConnections;
use super::settle::{AlwaysLate, Watch};
use crate::cluster::ObjectError;
use crate::plan::{Action, Case, Cell, Level, Matrix, Rehearsal, Step};
use crate::probe::rest;
use crate::report::{CellReport, Expectation, Status, StepProblem, StepReport};
use crate::waits;
use crate::world::{Canary, Followed, World, WorldError};

/// What the steps of a case share.
pub(super) struct Stage<'a> {
    pub(super) context: &'a Context,
    pub(super) case: &'a Case,
    pub(super) canary: &'a Canary,
    pub(super) rehearsal: Rehearsal,
    pub(super) held: HeldConnections,
    pub(super) logs: FollowedLogs,
    /// The probes' timeout.
    pub(super) timeout: Duration,
    /// Cells that the network does not carry even without a policy.
    pub(super) unsupported: BTreeSet<Cell>,
}

impl Stage<'_> {
    /// Carries out step `index`.
    pub(super) async fn step(&mut self, world: &mut World, index: usize) -> StepReport {
        let step = &self.case.steps[index];
        let mut report = empty(step);
        rest(&world.members).await;
        self.logs.mark(&step.logs).await;
        let expected = match self.act(world, index).await {
            Ok(expected) => expected,
            Err(problem) => {
                report.status = problem.status;
                report.problems.push(problem);
                return report;
            }
        };
        let start = Instant::now();
        // Of what changes nothing there is nothing to read.
        if !step.actions.iter().all(is_refused) {
            let relabels = step.actions.iter().any(changes_labels) || world.has_unread_labels();
            self.barrier(relabels, &mut report).await;
        }
        let watched = self.watch(world, step, &expected, start, &mut report).await;
        if let Err(AlwaysLate) = watched {
            report.problems.push(unmeasured(format!(
                "agents were late in {} rounds in a row: this machine is too busy to judge; run fewer cases at once (--parallel 1)",
                waits::DISCARDS_IN_A_ROW
            )));
        }
        report.status = verdict(&report);
        report
    }

    /// Carries out the step's actions, on the oracle's cluster and on the real one; what is expected then.
    async fn act(&mut self, world: &mut World, index: usize) -> Result<Matrix, StepProblem> {
        let bound = self.rehearsal.perform(index, &world.bindings);
        let actions = bound
            .map_err(|problems| unmeasured(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        for action in actions {
            self.perform(world, action).await?;
        }
        let expected = self.rehearsal.expect(index).map_err(|disagreements| {
            let found: Vec<_> =
                disagreements.iter().map(|found| format!("{}: {}", found.cell, found.computed.reason)).collect();
            unmeasured(format!("with this cluster's addresses suite and oracle disagree: {}", found.join("; ")))
        })?;
        Ok(expected.into_iter().filter(|(cell, _)| !self.unsupported.contains(cell)).collect())
    }

    async fn perform(&mut self, world: &mut World, action: Action) -> Result<(), StepProblem> {
        let objects = &self.context.cluster.objects;
        let in_world = |error: WorldError| unmeasured(error.to_string());
        let done = match action {
            Action::Apply(object) => {
                world.altered |= object["kind"] != "NetworkPolicy";
                objects.apply(&object).await
            }
            Action::Rejected { object, field, cause } => objects.must_be_rejected(&object, &field, &cause).await,
            Action::Delete { kind, name, namespace } => {
                world.altered |= kind != "NetworkPolicy";
                objects.delete(&kind, &name, namespace.as_deref()).await
            }
            Action::Patch { kind, name, namespace, patch } => {
                world.note_patch(&kind, &name, namespace.as_deref(), &patch);
                objects.patch(&kind, &name, namespace.as_deref(), &patch).await
            }
            Action::Recreate(_)
            | Action::Create(_)
            | Action::Remove(_)
            | Action::Complete(_)
            | Action::Terminate(_)
            | Action::RestartPods(_) => {
                move_pods(world, &action).await.map_err(in_world)?;
                self.rehearsal.rebind(&world.bindings);
                Ok(())
            }
            Action::RestartEnforcer => return world.restart_enforcer().await.map_err(in_world),
            // The only named wait is the barrier, which every step has.
            Action::Wait(_) => Ok(()),
        };
        done.map_err(|error| StepProblem {
            // What the API accepts or refuses wrongly is a verdict; that it cannot be asked is not.
            status: if error.is_verdict() { Status::Failed } else { Status::NotMeasured },
            what: error.to_string(),
        })
    }

    /// Waits until every node's canary has followed. A cluster that follows no policy at all is not waited for.
    async fn barrier(&self, relabels: bool, report: &mut StepReport) {
        if !self.canary.enforced {
            return;
        }
        let objects = &self.context.cluster.objects;
        let followed = match relabels {
            true => self.canary.open_by_labels(objects).await,
            false => self.canary.open(objects).await,
        };
        self.note(followed, "open", report);
    }

    fn note(&self, flipped: Result<Followed, ObjectError>, flip: &str, report: &mut StepReport) {
        let followed = match flipped {
            Ok(followed) => followed,
            Err(error) => return report.problems.push(unmeasured(error.to_string())),
        };
        self.context.slowest_convergence(followed.slowest());
        for node in &followed.missing {
            let waited = waits::CANARY_FOLLOWS;
            report.problems.push(if followed.unseen.contains(node) {
                unmeasured(format!("the canary on node {node} could not be measured within {waited}: its agents or the API server did not answer"))
            } else {
                let what = format!(
                    "the canary on node {node} did not {flip} within {waited}: the engine there does not follow policies (N58)"
                );
                StepProblem { status: Status::Failed, what }
            });
        }
        for (node, after) in followed.after {
            let slowest = report.canary_ms.entry(node).or_default();
            *slowest = slowest.max(after.as_secs_f64() * 1000.0);
        }
    }

    async fn watch(
        &self,
        world: &World,
        step: &Step,
        expected: &Matrix,
        start: Instant,
        report: &mut StepReport,
    ) -> Result<(), AlwaysLate> {
        let mut watch = Watch::new(world, expected, self.context.profile, self.timeout);
        let limit = if self.canary.enforced { waits::MATRIX_AGREES.limit } else { Duration::ZERO };
        let agreed = watch.agree(limit).await;
        let watched = match agreed {
            Ok(Some(agreed)) => {
                let after = agreed.all.saturating_duration_since(start);
                report.agreed_after_ms = Some(after.as_secs_f64() * 1000.0);
                let slowest = self.context.slowest_convergence(agreed.direct.saturating_duration_since(start));
                let window = match step.actions.iter().all(is_refused) {
                    true => waits::SETTLE_AT_LEAST,
                    false => waits::settle_window(slowest),
                };
                self.settle(world, step, window, &mut watch, report).await
            }
            // Nothing can settle; what is held and logged is still worth a look.
            Ok(None) => self.settle(world, step, waits::SETTLE_AT_LEAST, &mut watch, report).await,
            Err(late) => Err(late),
        };
        (report.rounds, report.discarded, report.losses) = (watch.rounds, watch.discarded, watch.losses);
        report.cells = cells(&watch, expected, self.context);
        watched
    }

    /// Watches the matrix, the held connections and the logs for a window, and closes the canaries for the next step meanwhile.
    async fn settle(
        &self,
        world: &World,
        step: &Step,
        window: Duration,
        watch: &mut Watch<'_>,
        report: &mut StepReport,
    ) -> Result<(), AlwaysLate> {
        let sweep = !step.held.is_empty() && self.canary.enforced;
        let window = if sweep { window.max(self.context.hold_at_least) } else { window };
        let before = (self.held.read(world).await, self.logs.read(&BTreeMap::new()).await);
        let start = Instant::now();
        let arm = async {
            match self.canary.enforced && !self.canary.is_armed() {
                true => Some(self.canary.arm(&self.context.cluster.objects).await),
                false => None,
            }
        };
        let (settled, armed) = futures::join!(watch.settle(window), arm);
        let settled_for = start.elapsed();
        self.logs.await_growth(&step.logs, &before.1).await;
        let after = (self.held.read(world).await, self.logs.read(&step.logs).await);
        report.settled_ms = settled_for.as_secs_f64() * 1000.0;
        if let Some(flipped) = armed {
            self.note(flipped, "close", report);
        }
        let profile = self.context.profile;
        let held = step
            .held
            .iter()
            .filter_map(|(name, wanted)| self.held.judge(name, *wanted, (&before.0, &after.0), settled_for, profile));
        report.held = held.collect();
        let logs = step
            .logs
            .iter()
            .filter_map(|(name, wanted)| self.logs.judge(name, *wanted, (&before.1, &after.1), profile));
        report.logs = logs.collect();
        // An expectation that was recorded and never evaluated is a failure.
        if report.held.len() + report.logs.len() < step.held.len() + step.logs.len() {
            report
                .problems
                .push(unmeasured("a held connection or a log that this step asks about was never opened".into()));
        }
        settled
    }
}

fn cells(watch: &Watch<'_>, expected: &Matrix, context: &Context) -> Vec<CellReport> {
    let cell = |(cell, expected): (&crate::plan::Cell, &crate::plan::Expected)| {
        let seen = watch.decided.get(cell);
        let observed = seen.map_or(crate::probe::Verdict::NotMeasured, |seen| seen.verdict);
        let status = match (observed.satisfies(expected.allowed), observed.is_measured()) {
            (true, _) => Status::Passed,
            (false, true) => Status::Failed,
            (false, false) => Status::NotMeasured,
        };
        CellReport {
            from: cell.from.to_string(),
            to: cell.to.to_string(),
            probe: cell.traffic.to_string(),
            level: level(expected.level),
            asserted: expected.scored && context.profile.asserts(expected.level),
            expected: if expected.allowed { Expectation::Allowed } else { Expectation::Denied },
            observed,
            status,
            reason: expected.reason.clone(),
            evidence: seen.filter(|_| status != Status::Passed).map(|seen| format!("{:?}", seen.evidence)),
        }
    };
    expected.iter().map(cell).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Core => "core",
        Level::Extended => "extended",
        Level::Stateful => "stateful",
        Level::Observed => "observed",
    }
}

/// Whether an action changes labels of pods or namespaces, so that policies alone say nothing about who has read it.
fn changes_labels(action: &Action) -> bool {
    matches!(action, Action::Patch { kind, .. } if kind != "NetworkPolicy")
}

/// Whether an action leaves the cluster as it is, so that no engine can be late with it.
fn is_refused(action: &Action) -> bool {
    matches!(action, Action::Rejected { .. })
}

/// Carries out what a step does to pods.
async fn move_pods(world: &mut World, action: &Action) -> Result<(), WorldError> {
    match action {
        Action::Recreate(pods) => world.recreate(pods).await,
        Action::Create(pods) => world.create(pods).await,
        Action::Remove(pods) => world.remove_pods(pods).await,
        Action::Complete(pods) => world.complete(pods).await,
        Action::Terminate(pods) => world.terminate(pods).await,
        Action::RestartPods(pods) => world.restart(pods).await,
        _ => Ok(()),
    }
}

/// The worst of everything that this step asserts, problems beside the cells included.
fn verdict(report: &StepReport) -> Status {
    let cells = report.cells.iter().filter(|cell| cell.asserted).map(|cell| cell.status);
    let held = report.held.iter().filter(|held| held.asserted).map(|held| held.status);
    let logs = report.logs.iter().filter(|log| log.asserted).map(|log| log.status);
    let problems = report.problems.iter().map(|problem| problem.status);
    cells.chain(held).chain(logs).chain(problems).max().unwrap_or(Status::Reported)
}

fn unmeasured(what: String) -> StepProblem {
    StepProblem { status: Status::NotMeasured, what }
}

fn empty(step: &Step) -> StepReport {
    StepReport {
        name: step.name.clone(),
        status: Status::NotMeasured,
        cells: Vec::new(),
        held: Vec::new(),
        logs: Vec::new(),
        problems: Vec::new(),
        canary_ms: BTreeMap::new(),
        agreed_after_ms: None,
        settled_ms: 0.0,
        rounds: 0,
        discarded: 0,
        losses: 0,
    }
}
