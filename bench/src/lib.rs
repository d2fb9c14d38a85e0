//! `netpol bench`: measures a room of netpol on this machine and prints the figures, beside what the project wants of them.
//!
//! A measurement adds its figures to a [`Report`]; nothing here passes or fails, because a machine that is busy with something
//! else is no bug.

mod enforcer;
mod harness;
mod lab;
mod machine;
mod report;
mod samples;
mod sandbox;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

pub use report::{Figure, Report, Target, Unit};
pub use samples::Samples;

/// Measures how fast a room is on this machine. Build with `--release` before you believe a figure.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What is printed on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
    #[command(subcommand)]
    room: Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table, for people.
    Text,
    /// One JSON object, for machines.
    Json,
}

#[derive(Clone, Debug, Subcommand)]
enum Room {
    Enforcer(enforcer::Arguments),
    Harness(harness::Arguments),
    Lab(lab::Arguments),
}

/// Measures, and prints the report on stdout; progress goes to stderr. It has to be called before the process has threads.
///
/// # Errors
/// When something that is to be measured does not work.
pub fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let report = match args.room {
        Room::Enforcer(arguments) => enforcer::measure(&arguments)?,
        Room::Harness(arguments) => harness::measure(&arguments)?,
        Room::Lab(arguments) => lab::measure(&arguments)?,
    };
    match args.output {
        Output::Text => print!("{}", report.table()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}
