//! `netpol bench harness`.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

use crate::report::{Report, Target, Unit};
use crate::samples::Samples;

/// The harness: how long the catalogue and a large matrix take in the lab, and what it needs for that.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// How often the matrix is measured.
    #[arg(long, default_value_t = 5)]
    matrices: u32,
    /// Leave the catalogue out.
    #[arg(long)]
    without_catalogue: bool,
}

/// A run of `netpol` that has ended.
struct Ended {
    report: Value,
    took: Duration,
    /// The largest that the process was, in MiB; the lab's processes are others.
    peak: f64,
}

/// Measures `netpol run` as a child, by its report.
///
/// # Errors
/// A run does not pass: its figures would be of something else.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::of("harness");
    eprintln!("a matrix of 486 cells, {} times", arguments.matrices);
    let suites = tempfile::tempdir().context("cannot make a folder for a suite")?;
    let area = suites.path().join("bench");
    fs::create_dir(&area).and_then(|()| fs::write(area.join("matrix.yaml"), include_str!("matrix.yaml")))?;
    let folder = suites.path().to_str().context("the temporary folder has no name in UTF-8")?;
    let ended = run(&["--suites", folder, "--parallel", "1", "--repeat", &arguments.matrices.to_string()])?;
    matrices(&ended.report, &mut report)?;
    if !arguments.without_catalogue {
        eprintln!("the catalogue");
        let ended = run(&[])?;
        let cases = ended.report["cases"].as_array().map_or(0, Vec::len);
        report.add("catalogue, cases", cases as f64, Unit::Count, None);
        report.add("catalogue", ended.took.as_secs_f64() * 1000.0, Unit::Milliseconds, Some(Target::AtMost(60_000.0)));
        // 100 MB.
        report.add("catalogue, resident at most", ended.peak, Unit::Mebibytes, Some(Target::AtMost(95.4)));
    }
    Ok(report)
}

/// From the end of a step's barrier to the end of its settle window: what a matrix takes until it is judged.
fn matrices(ended: &Value, report: &mut Report) -> anyhow::Result<()> {
    let (mut agreed, mut judged) = (Samples::default(), Samples::default());
    for step in ended["cases"].as_array().into_iter().flatten().flat_map(|case| case["steps"].as_array()).flatten() {
        let ms = |key: &str| step[key].as_f64().with_context(|| format!("a step's report has no {key}"));
        let (after, settled) = (ms("agreedAfterMs")?, ms("settledMs")?);
        agreed.push(Duration::from_secs_f64(after / 1000.0));
        judged.push(Duration::from_secs_f64((after + settled) / 1000.0));
    }
    let median = |samples: &Samples| samples.percentile(50.0).as_secs_f64() * 1000.0;
    report.add(
        "486 cells, half denied, measured once",
        median(&agreed),
        Unit::Milliseconds,
        Some(Target::AtMost(600.0)),
    );
    report.add("486 cells, half denied, and settled", median(&judged), Unit::Milliseconds, None);
    Ok(())
}

fn run(arguments: &[&str]) -> anyhow::Result<Ended> {
    let program = std::env::current_exe().context("cannot find netpol itself")?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(["run", "--target", "lab", "--output", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start netpol run")?;
    let mut stdout = child.stdout.take().context("netpol run has no standard output")?;
    let text = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let peak = watch(&mut child)?;
    let took = started.elapsed();
    let status = child.wait()?;
    let text = text.join().map_err(|_| anyhow::anyhow!("reading the report of netpol run failed"))??;
    ensure!(status.success(), "netpol run ended with {status}: netpol run {}", arguments.join(" "));
    Ok(Ended { report: serde_json::from_str(&text).context("netpol run printed no report")?, took, peak })
}

/// Waits for its end; how large it was at most, in MiB.
fn watch(child: &mut Child) -> anyhow::Result<f64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak: f64 = 0.0;
    while child.try_wait()?.is_none() {
        // The kernel keeps the maximum itself; what grows in the last moments is missed.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = peak.max(kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(peak)
}
