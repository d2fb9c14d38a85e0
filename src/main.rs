//! The `netpol` command: dispatch on subcommand and on argv[0], nothing else.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use netpol_agent::{AgentArgs, ping};
use netpol_bench::BenchArgs;
use netpol_enforcer::cni::{self, CniArgs};
use netpol_enforcer::inspect::{self, InspectArgs};
use netpol_enforcer::{EnforcerArgs, LogFormat};
use netpol_harness::target::kind::{self, KindArgs, Order, serve_kind};
use netpol_harness::target::{Target, serve_kubeconfig};
use netpol_harness::{Exit, RunArgs};
use netpol_image::ImageArgs;
use netpol_lab::{Audience, IpFamily, LabArgs, LabOptions, RunId};
use tracing_subscriber::EnvFilter;

/// Proves whether a cluster's NetworkPolicies are really enforced.
#[derive(Parser)]
#[command(name = "netpol", version, propagate_version = true)]
struct Netpol {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<RunArgs>),
    /// Brings up a target for a program.
    #[command(subcommand)]
    Target(TargetCommand),
    /// The embedded cluster, for people.
    #[command(subcommand)]
    Lab(LabCommand),
    Enforcer(EnforcerArgs),
    Cni(CniArgs),
    Inspect(InspectArgs),
    Agent(AgentArgs),
    Image(ImageArgs),
    Bench(BenchArgs),
}

#[derive(Subcommand)]
enum TargetCommand {
    /// Boots the target, prints one JSON line, and removes what it made when stdin closes.
    Up(Box<TargetUpArgs>),
}

#[derive(Args)]
struct TargetUpArgs {
    /// lab, kind:CNI, or kubeconfig:FILE with an optional #CONTEXT.
    target: Target,
    #[command(flatten)]
    lab: LabArgs,
    #[command(flatten)]
    kind: KindArgs,
    /// The image of the agent's pods that nodes have or can pull [default on kind: this netpol's own].
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// Leaves a kind cluster in place at the end.
    #[arg(long)]
    keep: bool,
}

#[derive(Subcommand)]
enum LabCommand {
    /// Boots the lab and keeps it until Ctrl-C.
    Up(LabUpArgs),
}

#[derive(Args)]
struct LabUpArgs {
    #[command(flatten)]
    lab: LabArgs,
    /// The addresses of pods, nodes and Services [default: dual where the kernel has IPv6, else ipv4].
    #[arg(long, value_name = "FAMILY", value_enum)]
    ip_family: Option<IpFamily>,
}

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().and_then(|name| Path::new(&name).file_stem().map(ToOwned::to_owned));
    let ended = match called_as.as_deref().and_then(|name| name.to_str()) {
        Some("ping") => ping::run(ping::PingArgs::parse()),
        _ => dispatch(Netpol::parse().command),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("netpol: {error:#}");
        Exit::Environment.into()
    })
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            // What the client library calls an error is mostly a stream that we have closed ourselves.
            log("error,kube_client=off");
            Ok(single_threaded()?.block_on(netpol_harness::run(*args))?.into())
        }
        Command::Target(TargetCommand::Up(up)) => {
            log("warn,kube_client=off");
            bring_up(*up)
        }
        Command::Lab(LabCommand::Up(lab)) => {
            log("warn,kube_client=off");
            let LabUpArgs { lab, ip_family } = lab;
            Ok(netpol_lab::up(LabOptions { ip_family, ..lab.into() }, Audience::People))
        }
        Command::Enforcer(args) => {
            log_as(args.log_format, "info");
            netpol_enforcer::run(args)
        }
        Command::Inspect(args) => {
            print!("{}", inspect::inspect(&args)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Cni(args) => {
            log("info");
            cni::run(args)
        }
        Command::Agent(args) => {
            log("warn,kube_client=off");
            netpol_agent::run(args)
        }
        Command::Image(args) => netpol_image::run(args),
        Command::Bench(args) => {
            log("warn,kube_client=off");
            netpol_bench::run(args)
        }
    }
}

fn bring_up(TargetUpArgs { target, lab, kind, image, keep }: TargetUpArgs) -> anyhow::Result<ExitCode> {
    let run = lab.run.as_ref().map(RunId::as_str).map(str::to_owned);
    Ok(match target {
        // The lab forks before there is a runtime.
        Target::Lab => {
            netpol_lab::up(LabOptions { ip_family: kind.ip_family.map(of_lab), ..lab.into() }, Audience::Machine)
        }
        Target::Kind(cni) => runtime()?.block_on(serve_kind(Order { cni, kind, run, image, keep }))?.into(),
        Target::Kubeconfig { file, context } => runtime()?.block_on(serve_kubeconfig(file, context, run))?.into(),
    })
}

/// The same word on both targets.
fn of_lab(family: kind::IpFamily) -> IpFamily {
    match family {
        kind::IpFamily::Ipv4 => IpFamily::Ipv4,
        kind::IpFamily::Ipv6 => IpFamily::Ipv6,
        kind::IpFamily::Dual => IpFamily::Dual,
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// For a run, whose hundreds of streams each do little: handing them from thread to thread would cost more than they do.
fn single_threaded() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Logs to stderr what `NETPOL_LOG` asks for, in tracing's filter syntax, such as `debug` or `netpol_lab=trace`.
fn log(default: &str) {
    log_as(LogFormat::Text, default);
}

fn log_as(format: LogFormat, default: &str) {
    let filter = std::env::var("NETPOL_LOG").unwrap_or_else(|_| default.to_owned());
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
