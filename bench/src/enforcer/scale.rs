//! What a change costs from the moment that the enforcer hears of it until the kernel has it.

use anyhow::Context;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_enforcer::apply::Kernel;
use netpol_enforcer::compile::{Incremental, OwnNode, Site};
use netpol_enforcer::diff;
use netpol_enforcer::world::{Change, Delta, Namespace, Pod, Policy, World};
use serde_json::{Value, json};

use super::cluster::{NODE, Size, namespace, pod, policy};
use crate::report::{Report, Target, Unit};
use crate::samples::Samples;

/// Measures the first transaction and single changes at a tenth of the pods, then at all of them.
pub(super) fn measure(pods: usize, changes: usize, report: &mut Report) -> anyhow::Result<()> {
    let small = cluster(Size::of(pods / 10), changes, report)?;
    let large = cluster(Size::of(pods), changes, report)?;
    let ratio = large.percentile(50.0).as_secs_f64() / small.percentile(50.0).as_secs_f64();
    report.add(
        format!("one change at {pods} pods, to one at {}", pods / 10),
        ratio,
        Unit::Ratio,
        Some(Target::AtMost(1.5)),
    );
    Ok(())
}

/// Gives the samples of all single changes.
fn cluster(size: Size, changes: usize, report: &mut Report) -> anyhow::Result<Samples> {
    let (world, site) = (world(size)?, site());
    let mut kernel = Kernel::open()?;
    let mut first = Samples::default();
    let mut compiled = None;
    first.time(|| {
        let compiled = compiled.insert(Incremental::new(world, site));
        kernel.follow(compiled, &diff::Delta::default())
    })?;
    let mut compiled = compiled.context("measured above")?;
    let mut change = |change: Change| -> anyhow::Result<()> {
        let update = compiled.update([change]);
        kernel.follow(&compiled, &update.delta)?;
        Ok(())
    };
    let at = format!("at {} pods and {} policies", size.pods, size.policies);
    let took = first.percentile(50.0).as_secs_f64() * 1000.0;
    report.add(format!("first sync {at}"), took, Unit::Milliseconds, Some(Target::AtMost(2000.0)));
    report.add(format!("resident memory {at}"), resident()?, Unit::Mebibytes, Some(Target::AtMost(150.0)));
    let (mut added, mut relabelled, mut all) = (Samples::default(), Samples::default(), Samples::default());
    for index in 0..changes {
        let mut object = pod(size, size.pods + index);
        let start = std::time::Instant::now();
        change(set_pod(object.clone())?)?;
        added.push(start.elapsed());
        object["metadata"]["labels"]["tier"] = json!("other");
        relabelled.time(|| -> anyhow::Result<()> { change(set_pod(object)?) })?;
        all.push(start.elapsed());
    }
    report.durations(&format!("a pod is added {at}"), &added, Some(5.0), Some(20.0));
    report.durations(&format!("a pod is relabelled {at}"), &relabelled, Some(5.0), Some(20.0));
    Ok(all)
}

/// A cluster of this size, as the enforcer knows it.
pub(super) fn world(size: Size) -> anyhow::Result<World> {
    let mut world = World::default();
    for index in 0..size.namespaces {
        world.apply(Change::Namespaces(Delta::Set(Namespace::read(&typed::<ApiNamespace>(namespace(index))?))));
    }
    for index in 0..size.pods {
        world.apply(set_pod(pod(size, index))?);
    }
    for index in 0..size.policies {
        world.apply(Change::Policies(Delta::Set(Policy::read(&typed::<NetworkPolicy>(policy(size, index))?))));
    }
    Ok(world)
}

/// The measured node.
pub(super) fn site() -> Site {
    let uplinks = ["eth0", "lo"].map(str::to_owned).into();
    Site { node: NODE.to_owned(), uplinks, own_node: OwnNode::Policed, node_local_dns: Default::default() }
}

/// What this process holds in memory, in MiB: the world and what was made of it, and little else.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading this process's status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(kib.context("the status of a process says VmRSS")?.parse::<f64>()? / 1024.0)
}

fn set_pod(object: Value) -> anyhow::Result<Change> {
    Ok(Change::Pods(Delta::Set(Pod::read(&typed::<ApiPod>(object)?))))
}

pub(super) fn typed<T: serde::de::DeserializeOwned>(object: Value) -> anyhow::Result<T> {
    serde_json::from_value(object).context("reading an object of the measured cluster")
}
