//! Enforcers with one bug each, to show that the suite catches them. Each stands between the stages of the real one:
//! there is no switch in `netpol` that weakens enforcement.
//!
//! ```text
//! broken_enforcer --list
//! broken_enforcer --mutant ignores-egress --kubeconfig FILE --node NAME …
//! ```

mod fragments;
mod lists;
mod memory;
mod mutant;
mod peers;
mod ports;
mod reading;
mod rewriting;
mod ruleset;
mod selectors;
mod world;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use netpol_enforcer::{EnforcerArgs, run_with};

use mutant::{Broken, Mutant};

#[derive(Parser)]
#[command(about = "An enforcer with a bug")]
struct Arguments {
    /// The bug's name.
    #[arg(long)]
    mutant: String,
    /// Print what bugs there are, as JSON, and end.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    enforcer: EnforcerArgs,
}

/// Every mutant.
fn mutants() -> impl Iterator<Item = &'static Mutant> {
    let rooms = [
        lists::MUTANTS,
        peers::MUTANTS,
        selectors::MUTANTS,
        ports::MUTANTS,
        world::MUTANTS,
        ruleset::MUTANTS,
        fragments::MUTANTS,
        memory::MUTANTS,
        rewriting::MUTANTS,
    ];
    rooms.into_iter().flatten()
}

fn main() -> anyhow::Result<ExitCode> {
    // Before parsing, because the enforcer's own arguments are required for everything else.
    if std::env::args().any(|argument| argument == "--list") {
        println!("{}", serde_json::to_string_pretty(&mutants().collect::<Vec<_>>())?);
        return Ok(ExitCode::SUCCESS);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Arguments { mutant, list: _, enforcer } = Arguments::parse();
    let mutant = mutants()
        .find(|known| known.name == mutant)
        .with_context(|| format!("no mutant is called '{mutant}'; --list names them all"))?;
    tracing::warn!(mutant = mutant.name, mutant.does, "this enforcer is broken on purpose");
    let ended = run_with(enforcer, &Broken::by(mutant))?;
    if mutant.name == rewriting::REMOVES_RULES {
        rewriting::remove_rules()?;
    }
    Ok(ended)
}
