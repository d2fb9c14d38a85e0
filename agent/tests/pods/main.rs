//! The agent in pods of its own: real packets in scratch network namespaces.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod client;
mod commands;
mod fragments;
mod held;
mod pods;
mod probes;
mod scratch;
mod watches;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
enum Netpol {
    Agent(netpol_agent::AgentArgs),
    Ping(netpol_agent::ping::PingArgs),
}

/// Not a test of its own: where [`pods::netpol`] starts this binary, it runs the agent's entry points in place of the executable,
/// which belongs to another package.
#[test]
fn stands_for_netpol() {
    let Ok(arguments) = std::env::var(pods::ARGUMENTS) else { return };
    let parsed = Netpol::try_parse_from(std::iter::once("netpol").chain(arguments.split(' ')));
    let code = match parsed.unwrap_or_else(|error| error.exit()) {
        Netpol::Agent(args) => netpol_agent::run(args),
        Netpol::Ping(args) => netpol_agent::ping::run(args),
    };
    let code = code.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(3)
    });
    let number = (0..=u8::MAX).find(|&number| ExitCode::from(number) == code).unwrap();
    std::process::exit(number.into())
}
