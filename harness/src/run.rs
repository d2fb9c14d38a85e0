//! `netpol run`: load, plan, bring up the target, execute, report, clean up.

use std::io::Write;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::claims::Claims;
use crate::cli::{Draw, Output, RunArgs};
use crate::cluster::{Cluster, connect, find_plugin};
use crate::execute::{Context, News, skipped};
use crate::exit::Exit;
use crate::lanes;
use crate::plan::{self, Case, Plan, Selection};
use crate::progress::Progress;
use crate::report::{API_VERSION, Report, Status, overview, terminal, write_json};
use crate::suite::{self, Source};
use crate::target::{Child, Consent, Target, Up, consent, is_ours, remove_leftovers};
use crate::world::Pool;

/// The image of the agent's pods where nothing names one: that of the lab.
const IMAGE: &str = "netpol";

/// Runs the command, and prints its results.
///
/// # Errors
/// What ends a run early, apart from bad suites: a target that does not come up, a report that cannot be written.
pub async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let (plan, claims, left_out) = match read(&args) {
        Ok(read) => read,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(Exit::BadInput);
        }
    };
    for (case, why) in &left_out {
        eprintln!("{}: {why}", case.id);
    }
    if plan.cases.is_empty() && !left_out.is_empty() {
        eprintln!("every selected case is skipped");
        return Ok(Exit::NothingSelected);
    }
    if plan.cases.is_empty() {
        eprintln!("no case matches {}; 'netpol run --plan' lists them all", args.patterns.join(" "));
        return Ok(Exit::NothingSelected);
    }
    if args.plan {
        print(&plan::describe(&plan)).context("writing the plan to stdout")?;
        return Ok(Exit::Passed);
    }
    if let Some(misfit) = args.misfit() {
        eprintln!("{misfit}");
        return Ok(Exit::BadInput);
    }
    if let (Target::Kubeconfig { file, context }, false) = (&args.target, args.yes) {
        let image = args.image.as_deref().unwrap_or(IMAGE);
        if let Consent::Refused(why) = consent(file, context.as_deref(), image, &args).await {
            eprintln!("{why}");
            return Ok(Exit::BadInput);
        }
    }
    if let Some(folder) = &args.report
        && let Err(error) = crate::report::prepare(folder)
    {
        eprintln!("--report: {error:#}; nothing was started");
        return Ok(Exit::BadInput);
    }
    let id = run_id()?;
    let start = Instant::now();
    let mut progress = Progress::new();
    if let Target::Kind(_) = args.target {
        // Its child tells the steps itself.
        progress.done();
    }
    progress.say(format!("bringing up {}", args.target));
    let mut interrupted = Interrupts::listen()?;
    let mut child = Child::start(&args.target_up(&id))?;
    let up = tokio::select! {
        up = child.up() => Some(up),
        () = interrupted.next() => None,
    };
    let up = match up {
        Some(Ok(up)) => up,
        Some(Err(error)) => {
            progress.done();
            eprintln!("{error}");
            return Ok(error.exit());
        }
        None => {
            progress.done();
            child.end().await?;
            return Ok(Exit::Interrupted);
        }
    };
    if let Target::Kind(_) = args.target {
        progress = Progress::new();
    }
    let judged = tokio::select! {
        judged = judge(&args, (&plan, &left_out), &up, &id, start, &progress) => judged.map(Some),
        gone = child.gone() => Err(gone.into()),
        () = interrupted.next() => Ok(None),
    };
    progress.done();
    let outcome = match judged {
        Ok(Some(mut report)) => {
            claims.hold(&mut report.cases);
            publish(&args, &report).map(|()| Exit::of(&report))
        }
        Ok(None) => Ok(Exit::Interrupted),
        Err(error) => Err(error),
    };
    if args.keep {
        keep(&args, &up, &id, &mut interrupted).await;
    }
    let ended = child.end().await?;
    if !ended.success() && !up.owned && !args.keep {
        remove_leftovers(&up, &id).await?;
    }
    outcome
}

/// What is to be run, what is said of the engine, and the cases that are left out because of that, with the reason.
type Read = (Plan, Claims, Vec<(Case, String)>);

fn read(args: &RunArgs) -> Result<Read, crate::Problems> {
    let selection = Selection::parse(&args.patterns)?;
    // Of the embedded suites those that are wanted: that the others are in order, their tests say.
    let loaded = match &args.suites {
        None => suite::load_some(&Source::Embedded, |name| selection.may_want(name)),
        Some(folder) => suite::load(&Source::Directory(folder.clone())),
    };
    let mut plan = plan::plan(&loaded?, &selection);
    if let Some(shard) = args.shard {
        let mut position = 0..;
        plan.cases.retain(|_| position.next().is_some_and(|position| shard.holds(position)));
    }
    let claims = Claims::of(&args.target, &args.unsupported, args.deviations.as_deref())?;
    let left_out = claims.take_out(&mut plan);
    Ok((plan, claims, left_out))
}

async fn judge(
    args: &RunArgs,
    (plan, left_out): (&Plan, &[(Case, String)]),
    up: &Up,
    id: &str,
    start: Instant,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let client = connect(&up.kubeconfig, up.context.as_deref()).await?;
    let image = args.image.clone().or_else(|| up.image.clone()).unwrap_or_else(|| IMAGE.to_owned());
    let mut cluster = Cluster::survey(client, image, id.to_owned()).await?;
    cluster.may_restart_engine = args.restart_engine || up.owned || is_ours(&cluster.client).await;
    let (news, heard) = mpsc::unbounded_channel();
    let mut context = Context::new(cluster.clone(), args.profile(), args.target_flags(), news);
    context.pace = args.pace.unwrap_or_default();
    context.hold_at_least = args.hold.unwrap_or_else(|| cluster.hold_at_least());
    let skipped: Vec<_> = left_out.iter().map(|(case, why)| skipped(&context, case, vec![why.clone()])).collect();
    let pool = Pool::new(cluster.clone());
    let live = args.lanes() == 1 && args.output == Output::Text;
    let (ended, ()) = futures::join!(
        lanes::run(context, &pool, plan, args.lanes(), (args.repeat, args.fail_fast)),
        tell(heard, live, plan, progress)
    );
    let (mut cases, enforced) = ended;
    cases.extend(skipped);
    cases.sort_by(|a, b| (&a.id, a.repetition).cmp(&(&b.id, b.repetition)));
    Ok(Report {
        api_version: API_VERSION,
        kind: "Report",
        run: id.to_owned(),
        target: args.target.to_string(),
        profile: format!("{:?}", args.profile()).to_lowercase(),
        // Looked up again: one that has crashed meanwhile shows it by its restarts.
        plugin: find_plugin(&cluster.client).await.or(cluster.plugin).map(|plugin| plugin.to_string()),
        enforced,
        wall_ms: start.elapsed().as_millis() as u64,
        cases,
    })
}

/// Shows progress, and with one lane each step as it is judged.
async fn tell(mut heard: mpsc::UnboundedReceiver<News>, live: bool, plan: &Plan, progress: &Progress) {
    let mut over = 0;
    while let Some(news) = heard.recv().await {
        match news {
            News::Began(case) if live => progress.print(&terminal::heading(&case.id, &case.description)),
            News::Control(control) if live => progress.print(&terminal::control(&control)),
            News::Control(_) => {}
            News::Step { step, .. } if live => progress.print(&terminal::step(&step)),
            News::Ended(case) => {
                over += 1;
                if live {
                    progress.print(&terminal::closing(&case));
                }
            }
            News::Began(case) => progress.say(format!("{over}/{} · {}", plan.cases.len(), case.id)),
            News::Step { case, step } => progress.say(format!("{over}/{} · {case}: {}", plan.cases.len(), step.name)),
        }
    }
}

fn publish(args: &RunArgs, report: &Report) -> anyhow::Result<()> {
    let printed = match args.output {
        Output::Json => unless_nobody_reads(write_json(report, std::io::stdout().lock())),
        Output::Text => print(&words(args, report)),
    };
    // Each of the two is worth having without the other.
    let written = args.report.as_ref().map_or(Ok(()), |folder| crate::report::write(report, folder));
    printed.context("writing results to stdout").and(written)
}

/// What people are told at a run's end, without what was printed while it ran.
fn words(args: &RunArgs, report: &Report) -> String {
    let mut text = String::new();
    let printed_already = args.lanes() == 1;
    let all = args.drawn(report.cases.len()) == Draw::All;
    if !all && !printed_already {
        text += &overview(report);
    }
    for case in report.cases.iter().filter(|case| !printed_already && (all || case.status > Status::Passed)) {
        text += &terminal::heading(&case.id, &case.description);
        text += &case.control.as_ref().map(terminal::control).unwrap_or_default();
        text.extend(case.steps.iter().map(terminal::step));
        text += &terminal::closing(case);
    }
    text + &terminal::summary(report)
}

/// Writes to stdout.
fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    unless_nobody_reads(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// That nobody reads on, as with `| head`, is no error.
fn unless_nobody_reads(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

async fn keep(args: &RunArgs, up: &Up, id: &str, interrupted: &mut Interrupts) {
    let kubeconfig = up.kubeconfig.display();
    eprintln!("kept: kubectl --kubeconfig {kubeconfig} get pods -A -l netpol.dev/run={id}");
    match args.target {
        Target::Lab => {
            eprintln!("the lab is up until Ctrl-C");
            interrupted.next().await;
        }
        Target::Kubeconfig { .. } => {
            eprintln!("to remove: kubectl --kubeconfig {kubeconfig} delete namespace -l netpol.dev/run={id}");
        }
        // Its child says how.
        Target::Kind(_) => {}
    }
}

/// SIGINT and SIGTERM.
struct Interrupts {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Interrupts { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// Six letters and digits: part of every namespace's name.
fn run_id() -> anyhow::Result<String> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0u8; 6];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}
