//! Lanes: cases that run side by side, and the order in which they begin.

use std::cmp::Reverse;
use std::time::Duration;

use futures::stream::{self, StreamExt};

use crate::execute::{Context, News, lacking, missing, not_begun, run_case, skipped};
use crate::plan::{Case, Plan};
use crate::report::{CaseReport, Status};
use crate::topology::uses_node_network;
use crate::world::Pool;

/// What a step takes where nothing is held, about: only its proportion to a sweep of held connections matters.
const STEP: Duration = Duration::from_secs(1);

/// Cases that run one after another, each with the number of its repetition.
type Chain<'a> = Vec<(&'a Case, u32)>;

/// All cases of a plan, in so many lanes; and whether any canary saw a policy enforced.
pub(crate) async fn run(
    context: Context,
    pool: &Pool,
    plan: &Plan,
    lanes: u32,
    (repeat, fail_fast): (u32, bool),
) -> (Vec<CaseReport>, Option<bool>) {
    let context = &context;
    let wanted = (1..=repeat).flat_map(|repetition| plan.cases.iter().map(move |case| (case, repetition))).collect();
    let (beside, alone) = match lanes {
        // As they are written: somebody reads along.
        1 => (vec![wanted], Vec::new()),
        _ => order(plan, wanted, context.hold_at_least),
    };
    let one = |(case, repetition)| async move {
        let (report, enforced) = one_case(context, pool, plan, case).await;
        (CaseReport { repetition, ..report }, enforced)
    };
    let beside = stream::iter(beside).map(|chain| Box::pin(stream::iter(chain).then(one)));
    let mut ended = Box::pin(beside.flatten_unordered(lanes as usize).chain(stream::iter(alone).then(one)));
    let (mut reports, mut enforced) = (Vec::new(), None);
    while let Some((report, seen)) = ended.next().await {
        enforced = match (enforced, seen) {
            (Some(so_far), Some(seen)) => Some(so_far || seen),
            (so_far, seen) => so_far.or(seen),
        };
        let stop = fail_fast && report.status > Status::Passed;
        context.news.send(News::Ended(Box::new(report.clone()))).ok();
        reports.push(report);
        if stop {
            break;
        }
    }
    (reports, enforced)
}

/// Chains that may run side by side, and the cases that need every lane, which come last.
///
/// What takes longest begins first: a long case that began last would keep one lane at work while the others have nothing left.
/// Cases whose pods listen on ports of nodes are one chain, because two of them never run at the same time.
fn order<'a>(plan: &Plan, wanted: Chain<'a>, hold: Duration) -> (Vec<Chain<'a>>, Chain<'a>) {
    let on_nodes = |case: &Case| plan.topologies.get(&case.topology).is_some_and(uses_node_network);
    let (alone, beside): (Chain<'_>, _) = wanted.into_iter().partition(|(case, _)| case.exclusive);
    let (mut on_nodes, others): (Chain<'_>, Vec<_>) = beside.into_iter().partition(|(case, _)| on_nodes(case));
    // Worlds are used again within a topology only.
    on_nodes.sort_by_key(|(case, _)| &case.topology);
    let mut chains: Vec<Chain<'_>> = others.into_iter().map(|case| vec![case]).collect();
    chains.extend(Some(on_nodes).filter(|chain| !chain.is_empty()));
    chains.sort_by_key(|chain| Reverse(chain.iter().map(|(case, _)| length(case, hold)).sum::<Duration>()));
    (chains, alone)
}

/// How long a case takes, about, where held connections are watched for `hold`.
fn length(case: &Case, hold: Duration) -> Duration {
    case.steps.iter().map(|step| if step.held.is_empty() { STEP } else { STEP.max(hold) }).sum()
}

/// One case in a world of the pool; and whether its canaries saw a policy enforced.
async fn one_case(context: &Context, pool: &Pool, plan: &Plan, case: &Case) -> (CaseReport, Option<bool>) {
    let Some(topology) = plan.topologies.get(&case.topology) else {
        return (not_begun(context, case, format!("topology {} is not there", case.topology)), None);
    };
    let missing = missing(case, &context.cluster);
    if !missing.is_empty() {
        return (skipped(context, case, lacking(&missing)), None);
    }
    match pool.lease(topology).await {
        Ok(mut lease) => {
            let (world, canary) = lease.parts();
            (run_case(context, case, world, canary).await, Some(canary.enforced))
        }
        Err(error) => (not_begun(context, case, error.to_string()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Selection, plan};
    use crate::suite::{self, Source};

    #[test]
    fn every_case_runs_once_long_ones_first_and_what_needs_every_lane_last() {
        let loaded = suite::load(&Source::Embedded).unwrap();
        let plan = plan(&loaded, &Selection::parse(&[] as &[String]).unwrap());
        let wanted: Chain<'_> = plan.cases.iter().map(|case| (case, 1)).collect();
        let (beside, alone) = order(&plan, wanted, Duration::from_secs(35));

        let mut ids: Vec<_> = beside.iter().flatten().chain(&alone).map(|(case, _)| &case.id).collect();
        ids.sort();
        assert_eq!(ids, plan.cases.iter().map(|case| &case.id).collect::<Vec<_>>());
        let lengths =
            beside.iter().map(|chain| chain.iter().map(|(case, _)| length(case, Duration::from_secs(35))).sum());
        assert!(lengths.is_sorted_by(|a: &Duration, b| a >= b));
        assert!(alone.iter().all(|(case, _)| case.exclusive) && !alone.is_empty());
        assert!(beside.iter().flatten().all(|(case, _)| !case.exclusive));

        let on_nodes =
            |chain: &&Chain<'_>| chain.iter().any(|(case, _)| uses_node_network(&plan.topologies[&case.topology]));
        let chains: Vec<_> = beside.iter().filter(on_nodes).collect();
        let [chain] = chains[..] else { panic!("{} chains", chains.len()) };
        let changes = chain.windows(2).filter(|pair| pair[0].0.topology != pair[1].0.topology).count();
        let topologies: std::collections::BTreeSet<_> = chain.iter().map(|(case, _)| &case.topology).collect();
        assert_eq!(changes + 1, topologies.len(), "a topology's worlds are used again");
    }
}
