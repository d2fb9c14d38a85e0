//! What the API server carries: lists, watchers, memory.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use kube::Client;
use serde_json::Value;

use super::child::Lab;
use crate::report::{Report, Target, Unit};
use crate::samples::Samples;

/// How often the list is asked for.
const LISTS: usize = 20;
/// Where hollow pods say when they were changed, by this machine's clock.
const CHANGED: &str = "\"netpol.dev/changed-at-us\":\"";

/// The list of all pods, and the memory that it takes to hold them.
pub(super) async fn lists(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let client = lab.client()?;
    let all = Request::get("/api/v1/pods").body(Vec::new())?;
    let (mut first, mut later, mut bytes) = (Samples::default(), Samples::default(), 0);
    for round in 0..LISTS {
        let asked = Instant::now();
        bytes = client.request_text(all.clone()).await?.len();
        if round == 0 { &mut first } else { &mut later }.push(asked.elapsed());
    }
    let milliseconds = |samples: &Samples| samples.percentile(50.0).as_secs_f64() * 1000.0;
    let wanted = Some(Target::AtMost(150.0));
    report.add("list of all pods, first", milliseconds(&first), Unit::Milliseconds, wanted);
    report.add("list of all pods, median", milliseconds(&later), Unit::Milliseconds, wanted);
    report.add("list of all pods, size", mebibytes(bytes as u64), Unit::Mebibytes, None);
    let resident = mebibytes(lab.resident()?);
    report.add("resident memory, nothing changes", resident, Unit::Mebibytes, Some(Target::AtMost(300.0)));
    Ok(())
}

/// How late watchers hear of changes, each on a connection of its own.
pub(super) async fn watches(lab: &Lab, count: usize, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let request = Request::get("/api/v1/pods?limit=1").body(Vec::new())?;
    let list: Value = lab.client()?.request(request).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("the list has no version")?.to_owned();
    let clients: Vec<Client> = (0..count).map(|_| lab.client()).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let heard =
        try_join_all(clients.into_iter().map(|client| tokio::spawn(listen(client, version.clone(), time)))).await?;
    let took = started.elapsed();
    let (mut all, mut events) = (Samples::default(), 0);
    for samples in heard {
        for late in samples? {
            all.push(late);
            events += 1;
        }
    }
    ensure!(events > 0, "watchers heard of no change");
    let rate = f64::from(events) / count as f64 / took.as_secs_f64();
    report.add("events to each watcher", rate, Unit::PerSecond, None);
    report.durations("change to watcher", &all, None, Some(20.0));
    let resident = mebibytes(lab.resident()?);
    report.add("resident memory, with changes", resident, Unit::Mebibytes, Some(Target::AtMost(300.0)));
    Ok(())
}

async fn listen(client: Client, version: String, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let uri = format!("/api/v1/pods?watch=true&resourceVersion={version}");
    let mut lines = client.request_stream(Request::get(uri).body(Vec::new())?).await?.lines();
    let end = tokio::time::Instant::now() + time;
    let mut late = Vec::new();
    while let Ok(line) = tokio::time::timeout_at(end, lines.try_next()).await {
        let line = line?.context("the watch ended")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        // What is deleted says when it was changed before.
        if line.starts_with(r#"{"type":"DELETED""#) {
            continue;
        }
        // Not decoded: the clients share the processors with the server that is measured.
        let changed = line.split_once(CHANGED).and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        late.extend(changed.map(|changed| now.saturating_sub(Duration::from_micros(changed))));
    }
    Ok(late)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
