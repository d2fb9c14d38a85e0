//! `netpol bench lab`.

mod api;
mod child;
mod pods;

use std::time::Duration;

use clap::Args;

use crate::report::{Report, Target, Unit};
use crate::samples::Samples;
use child::Lab;

/// The lab: how fast a cluster and its pods are there, and what its API server carries.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// How often the cluster is booted, and pods are started in it.
    #[arg(long, default_value_t = 5)]
    boots: usize,
    /// Pods that are API objects only.
    #[arg(long, default_value_t = 10_000)]
    hollow_pods: u32,
    /// Changes of pods a second, while watchers listen.
    #[arg(long, default_value_t = 1000)]
    churn: u32,
    /// Who listen to them.
    #[arg(long, default_value_t = 20)]
    watchers: usize,
    /// Seconds for which they listen.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Measures labs that it boots as children, by their kubeconfigs.
///
/// # Errors
/// A lab does not boot or does not answer.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::of("lab");
        booted(arguments.boots, &mut report).await?;
        let pods = arguments.hollow_pods;
        eprintln!("{pods} hollow pods");
        let lab = Lab::up(&["--nodes=1", "--enforcer=none", &format!("--hollow-pods={pods}")]).await?;
        api::lists(&lab, &mut report).await?;
        lab.end().await?;
        eprintln!("{pods} hollow pods, {} changes a second, {} watchers", arguments.churn, arguments.watchers);
        let churn = format!("--churn={}", arguments.churn);
        let lab = Lab::up(&["--nodes=1", "--enforcer=none", &format!("--hollow-pods={pods}"), &churn]).await?;
        let time = Duration::from_secs(arguments.seconds);
        api::watches(&lab, arguments.watchers, time, &mut report).await?;
        lab.end().await?;
        Ok(report)
    })
}

async fn booted(boots: usize, report: &mut Report) -> anyhow::Result<()> {
    let (mut ready, mut nine, mut many) = (Samples::default(), Samples::default(), Samples::default());
    for boot in 0..boots {
        eprintln!("boot {} of {boots}", boot + 1);
        let lab = Lab::up(&["--nodes=3"]).await?;
        ready.push(lab.ready_after);
        nine.push(pods::start(&lab, "nine", 9).await?);
        // The larger count once: it takes what ten of the others take.
        if boot == 0 {
            many.push(pods::start(&lab, "many", 200).await?);
        }
        lab.end().await?;
    }
    for (name, samples, most) in
        [("3 nodes Ready", &ready, 600.0), ("9 pods Running", &nine, 300.0), ("200 pods Running", &many, 4000.0)]
    {
        for (statistic, percentile) in [("median", 50.0), ("slowest", 100.0)] {
            let value = samples.percentile(percentile).as_secs_f64() * 1000.0;
            report.add(format!("{name}, {statistic}"), value, Unit::Milliseconds, Some(Target::AtMost(most)));
        }
    }
    Ok(())
}
