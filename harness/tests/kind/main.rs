//! What can be shown of kind clusters without one: configurations, entries, manifests, downloads, remedies, the order of steps.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod configurations;
mod downloads;
mod entries;
mod manifests;
mod remedies;
mod steps;

use clap::Parser;
use netpol_harness::target::kind::KindArgs;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    kind: KindArgs,
}

/// Flags of kind targets as a command line gives them.
fn flags(line: &str) -> KindArgs {
    Flags::try_parse_from(std::iter::once("netpol").chain(line.split_whitespace())).unwrap().kind
}

/// What a command line is refused with.
fn refused(line: &str) -> String {
    let words = std::iter::once("netpol").chain(line.split_whitespace());
    Flags::try_parse_from(words).err().map(|error| error.to_string()).unwrap_or_default()
}
