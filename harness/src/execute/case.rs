//! One case in one world, from the positive control to the clean-up.

use std::time::Duration;

use tokio::time::Instant;

use super::followed_logs::FollowedLogs;
use super::held::HeldConnections;
use super::step::Stage;
use super::{Context, News, control, evidence};
use crate::cluster::Cluster;
use crate::plan::{Case, Need, Rehearsal};
use crate::report::{CaseReport, Status};
use crate::world::{Canary, World};

/// Runs a case; whatever goes wrong is in its report.
pub async fn run_case(context: &Context, case: &Case, world: &mut World, canary: &Canary) -> CaseReport {
    let start = Instant::now();
    context.tell(News::Began(Box::new(case.clone())));
    let mut report = blank(context, case);
    report.namespaces = world.bindings.namespaces.clone();
    let missing = missing_families(case, world);
    if !missing.is_empty() {
        return skipped(context, case, lacking(&missing));
    }
    if let Err(problem) = steps(context, case, (world, canary), &mut report).await {
        report.problems.push(problem);
        report.status = report.status.max(Status::NotMeasured);
    }
    if report.status > Status::Passed {
        report.evidence = Some(evidence::gather(context, world).await);
    }
    if let Err(error) = world.restore().await {
        world.altered = true;
        tracing::warn!(case = case.id, %error, "cleaning up");
    }
    report.took_ms = start.elapsed().as_millis() as u64;
    report
}

/// A case that could not begin.
pub fn not_begun(context: &Context, case: &Case, why: String) -> CaseReport {
    CaseReport { status: Status::NotMeasured, problems: vec![why], ..blank(context, case) }
}

/// A case that this cluster cannot carry out.
pub fn skipped(context: &Context, case: &Case, why: Vec<String>) -> CaseReport {
    CaseReport { status: Status::Skipped, problems: why, ..blank(context, case) }
}

/// Why a case is skipped where these things are missing.
pub fn lacking(missing: &[Need]) -> Vec<String> {
    missing.iter().map(|need| format!("skipped: {}", need.lacking())).collect()
}

/// What a case needs and a cluster lacks, as far as it shows before pods run.
pub fn missing(case: &Case, cluster: &Cluster) -> Vec<Need> {
    let lacks = |need: &Need| match need {
        Need::TwoNodes => cluster.nodes.len() < 2,
        Need::Outside => cluster.outside.is_none(),
        Need::EngineRestart => !cluster.may_restart_engine,
        Need::Ipv4 | Need::Ipv6 => false,
    };
    case.needs.iter().copied().filter(lacks).collect()
}

fn missing_families(case: &Case, world: &World) -> Vec<Need> {
    let has = |v6: bool| world.bindings.pods.values().any(|bound| bound.ips.iter().any(|ip| ip.is_ipv6() == v6));
    let lacks = |need: &Need| match need {
        Need::Ipv4 => !has(false),
        Need::Ipv6 => !has(true),
        Need::TwoNodes | Need::Outside | Need::EngineRestart => false,
    };
    case.needs.iter().copied().filter(lacks).collect()
}

fn blank(context: &Context, case: &Case) -> CaseReport {
    CaseReport {
        id: case.id.clone(),
        file: case.file.clone(),
        description: case.description.clone(),
        rules: case.rules.clone(),
        status: Status::Reported,
        problems: Vec::new(),
        namespaces: Default::default(),
        control: None,
        steps: Vec::new(),
        took_ms: 0,
        repetition: 1,
        evidence: None,
        replay: format!("netpol run {} {}", shlex::try_quote(&case.id).unwrap_or_default(), context.target),
    }
}

async fn steps(
    context: &Context,
    case: &Case,
    (world, canary): (&mut World, &Canary),
    report: &mut CaseReport,
) -> Result<(), String> {
    let rehearsal = Rehearsal::new(case, &world.topology, &world.bindings)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let (measured, unsupported) = control::control(world, &rehearsal.control(), context.profile).await?;
    context.tell(News::Control(measured.clone()));
    let held = HeldConnections::default();
    let logs = FollowedLogs::follow(&context.cluster, world, &case.logs);
    let timeout = Duration::from_millis(measured.timeout_ms);
    report.control = Some(measured);
    let mut stage = Stage { context, case, canary, rehearsal, held, logs, timeout, unsupported };
    let walked = walk(&mut stage, world, report).await;
    stage.held.release(world).await;
    walked
}

/// Every step, in order; the first that cannot be carried out ends the case, because the ones behind it would stand on nothing.
async fn walk(stage: &mut Stage<'_>, world: &mut World, report: &mut CaseReport) -> Result<(), String> {
    let (context, case) = (stage.context, stage.case);
    stage.held.open(world, &case.holds, None).await?;
    for index in 0..case.steps.len() {
        let step = stage.step(world, index).await;
        report.status = report.status.max(step.status);
        context.tell(News::Step { case: case.id.clone(), step: Box::new(step.clone()) });
        let stands = step.rounds > 0;
        report.steps.push(step);
        if !stands {
            return Ok(());
        }
        stage.held.open(world, &case.holds, Some(index)).await?;
        tokio::time::sleep(context.pace).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Objects;
    use crate::suite::{self, Source};

    #[tokio::test]
    async fn a_foreign_engine_is_not_restarted_unless_that_was_asked_for() {
        let loaded = suite::load(&Source::Embedded).unwrap();
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let mut cluster = Cluster {
            objects: Objects::new(client.clone()),
            client,
            nodes: Vec::new(),
            outside: None,
            plugin: None,
            may_restart_engine: false,
            image: String::new(),
            run: String::new(),
        };
        let restarting = |cluster: &Cluster| -> Vec<_> {
            let cases = loaded.cases.iter().filter(|case| missing(case, cluster).contains(&Need::EngineRestart));
            cases.map(|case| case.id.clone()).collect()
        };
        assert_eq!(restarting(&cluster), ["lifecycle/across-a-restart", "lifecycle/enforcer-restarts"]);
        cluster.may_restart_engine = true;
        assert_eq!(restarting(&cluster), [""; 0]);
    }
}
