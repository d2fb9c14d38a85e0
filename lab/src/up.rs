//! The parent: it boots the lab, tells who asked how to reach it, and ends it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::LabOptions;
use crate::lifeline::{Lifeline, lifeline};
use crate::namespaces::{Fork, exit_now, fork, register};
use crate::preflight::remedy::{Explained, Machine};
use crate::report::{Report, Reporter};
use crate::rundir::RunDir;
use crate::stage::{self, Inheritance};

/// Exit code: the environment failed.
const FAILED: u8 = 3;
/// Exit code: interrupted.
const INTERRUPTED: u8 = 130;
/// How long the lab's processes may take to end once they must; the kernel kills them, so this is generous.
const END_WITHIN: Duration = Duration::from_secs(5);

/// For whom the lab boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A program: one JSON line on standard output when Ready; the lab lives until standard input ends.
    Machine,
    /// People: progress and hints on standard error; the lab lives until Ctrl-C.
    People,
}

/// Boots the lab, keeps it until it is to end, and removes everything.
///
/// It forks, so no thread may have been started before. Exit codes: 0 ended as asked (for people that is Ctrl-C once
/// the lab is Ready), 3 the environment failed, 130 interrupted.
pub fn up(options: LabOptions, audience: Audience) -> ExitCode {
    let context = format!("netpol-lab-{}", options.run.as_str());
    let mut rundir = None;
    let ended = start(options).and_then(|lab| lab.attend(audience, &mut rundir, &context));
    let code = ended.unwrap_or_else(|error| {
        eprintln!("netpol: cannot start the lab: {error}");
        FAILED
    });
    // The stage removes it, too, unless it was killed.
    if let Some(rundir) = rundir
        && let Err(error) = rundir.remove()
    {
        eprintln!("netpol: cannot remove {}: {error}", rundir.path().display());
        return ExitCode::from(code.max(FAILED));
    }
    ExitCode::from(code)
}

/// A lab that boots or runs, as seen by its parent.
struct Lab {
    stage: Pid,
    lifeline: Lifeline,
    reports: std::os::fd::OwnedFd,
}

fn start(options: LabOptions) -> io::Result<Lab> {
    let started = Instant::now();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (lifeline, watched) = lifeline()?;
    let (reports, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Orphans come to this process if the stage is killed, so that their end can be waited for.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    match fork()? {
        Fork::Parent(stage) => Ok(Lab { stage, lifeline, reports }),
        Fork::Child => {
            // The child's copies would keep the lab alive beyond its parent.
            drop((lifeline, reports));
            let reporter = Reporter::new(write);
            exit_now(stage::run(Inheritance { options, listener, lifeline: watched, reporter, started }))
        }
    }
}

/// Why the lab is to end.
enum End {
    /// Standard input ended, or people pressed Ctrl-C.
    Asked,
    Interrupted,
    /// The lab ended by itself, with a last word or without.
    Died(Option<Report>),
}

impl Lab {
    fn attend(self, audience: Audience, rundir: &mut Option<RunDir>, context: &str) -> io::Result<u8> {
        let Lab { stage, lifeline, reports } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            let mut reports = BufReader::new(pipe::Receiver::from_owned_fd(reports)?).lines();
            let end = watch(&mut reports, stage, audience, rundir, context).await?;
            drop(lifeline);
            // The pipe's last write end goes with the lab's init.
            let gone = async { while !matches!(reports.next_line().await, Ok(None) | Err(_)) {} };
            if tokio::time::timeout(END_WITHIN, gone).await.is_err() {
                eprintln!("netpol: the lab's init has not ended within {END_WITHIN:?} and will be killed");
            }
            Ok::<u8, io::Error>(match end {
                End::Asked => 0,
                End::Interrupted => INTERRUPTED,
                End::Died(report) => {
                    explain(report);
                    FAILED
                }
            })
        });
        // Standard input may still block a thread.
        runtime.shutdown_background();
        reap();
        code
    }
}

async fn watch(
    reports: &mut Lines<BufReader<pipe::Receiver>>,
    stage: Pid,
    audience: Audience,
    rundir: &mut Option<RunDir>,
    context: &str,
) -> io::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stage_end = register(rustix::process::pidfd_open(stage, PidfdFlags::empty())?)?;
    let stdin_end = end_of_stdin(audience)?;
    tokio::pin!(stdin_end);
    let mut ready = false;
    let mut last_word = None;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(if ready && audience == Audience::People { End::Asked } else { End::Interrupted }),
            _ = terminate.recv() => return Ok(End::Interrupted),
            _ = hangup.recv() => return Ok(End::Interrupted),
            line = reports.next_line() => match line?.map(|line| serde_json::from_str(&line)) {
                Some(Ok(Report::Directory(path))) => *rundir = Some(RunDir::made(path)),
                Some(Ok(Report::Progress(text))) if audience == Audience::People => eprintln!("  {text}"),
                Some(Ok(Report::Progress(text))) => tracing::debug!("{text}"),
                Some(Ok(Report::Ready { after_ms })) => {
                    ready = true;
                    if let Some(rundir) = rundir { announce(audience, rundir, context, after_ms)?; }
                }
                Some(Ok(report)) => last_word = Some(report),
                Some(Err(error)) => last_word = Some(Report::Broken(format!("the lab speaks nonsense: {error}"))),
                None => return Ok(End::Died(last_word)),
            },
            _ = stage_end.readable(), if last_word.is_none() => {
                // Its last word may still lie in the pipe, which ends with the init; without a stage the lab must end.
                last_word = Some(Report::Broken("the process that started the lab was killed".into()));
                if let Ok(Ok(Some(line))) = tokio::time::timeout(Duration::from_millis(100), reports.next_line()).await
                    && let Ok(report @ (Report::Failed(_) | Report::Broken(_))) = serde_json::from_str(&line) {
                    last_word = Some(report);
                }
                return Ok(End::Died(last_word));
            }
            _ = &mut stdin_end => return Ok(End::Asked),
        }
    }
}

/// Becomes ready when standard input ends; for people never.
fn end_of_stdin(audience: Audience) -> io::Result<impl Future<Output = ()>> {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    if audience == Audience::Machine {
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut buffer = [0; 256];
            let mut stdin = io::stdin();
            while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
            let _ = end.send(());
        })?;
        return Ok(futures::future::Either::Left(async {
            let _ = ended.await;
        }));
    }
    Ok(futures::future::Either::Right(std::future::pending()))
}

fn announce(audience: Audience, rundir: &RunDir, context: &str, after_ms: u64) -> io::Result<()> {
    let kubeconfig = rundir.kubeconfig();
    match audience {
        Audience::Machine => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{}", json!({"kubeconfig": kubeconfig, "context": context, "owned": true}))?;
            stdout.flush()
        }
        Audience::People => {
            eprintln!("The lab is Ready after {after_ms} ms. In another terminal:");
            eprintln!("  export KUBECONFIG={}", kubeconfig.display());
            eprintln!("  kubectl get pods -A");
            eprintln!("  netpol run --target kubeconfig:{}", kubeconfig.display());
            eprintln!("Ctrl-C here ends it and removes everything.");
            Ok(())
        }
    }
}

fn explain(last_word: Option<Report>) {
    match last_word {
        Some(Report::Failed(failure)) => eprintln!("netpol: {}", Explained(&failure, &Machine::read())),
        Some(Report::Broken(text)) => eprintln!("netpol: the lab has failed: {text}"),
        _ => eprintln!("netpol: the lab has failed: its init was killed"),
    }
}

/// Waits for the stage, and for the init if it came here as an orphan. After the deadline, which only a fault of ours
/// can pass, whatever is a child of this process is killed: first the stage, then the init that is orphaned by that.
fn reap() {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
            Ok(None) => {
                if Instant::now() > deadline {
                    for pid in children() {
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The children of every thread of this process.
fn children() -> impl Iterator<Item = Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids: Vec<Pid> = lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect();
    ids.into_iter()
}
