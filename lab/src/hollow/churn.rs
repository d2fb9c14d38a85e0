//! Changes of hollow pods, at a steady rate.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;

use super::objects::{self, CHANGED};
use super::{Hollow, TICK, create_pod};
use crate::api::resources::POD;
use crate::api::{DeleteOptions, Part, Status, Store};

/// One change in so many is a pod that goes and comes back as another.
const REPLACED: u64 = 10;

pub(super) async fn keep(hollow: Hollow, store: &Store) -> Result<(), Status> {
    if hollow.churn == 0 || hollow.pods == 0 {
        return std::future::pending().await;
    }
    let mut generations = vec![0_u32; hollow.pods as usize];
    let (started, mut done) = (Instant::now(), 0_u64);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let due =
            u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX) * u64::from(hollow.churn) / 1_000_000;
        while done < due {
            // A stride that shares no factor with most counts: changes wander over nodes and namespaces.
            let pod = u32::try_from(done.wrapping_mul(7919) % u64::from(hollow.pods)).unwrap_or_default();
            change(store, pod, &mut generations[pod as usize], done)?;
            done += 1;
            // Also where the rate is more than the machine can do, others have their turn.
            tokio::task::yield_now().await;
        }
    }
}

fn change(store: &Store, pod: u32, generation: &mut u32, turn: u64) -> Result<(), Status> {
    let (namespace, name) = (objects::namespace_name(pod), objects::pod_name(pod, *generation));
    if turn % REPLACED == REPLACED - 1 {
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        present(store.delete(POD, &namespace, &name, &now).map(drop))?;
        *generation += 1;
        let mut next = objects::pod(pod, *generation);
        next["metadata"]["annotations"] = serde_json::json!({ CHANGED: microseconds() });
        return present(create_pod(store, next));
    }
    present(
        store
            .modify(POD, &namespace, &name, Part::Everything, |pod| {
                pod["metadata"]["labels"]["turn"] = (turn % 4).to_string().into();
                pod["metadata"]["annotations"][CHANGED] = microseconds().into();
                Ok(())
            })
            .map(drop),
    )
}

/// Somebody may have deleted the pod or its namespace: then there is nothing to change.
fn present(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if matches!(status.code, 403 | 404 | 409) => Ok(()),
        other => other,
    }
}

fn microseconds() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros().to_string()
}
