//! `ping`, as far as people and scripts use it: the subset of iputils' interface that reads `ping [-c N] [-i S] [-W S]
//! [-w S] [-q] [-n] [-4|-6] ADDRESS`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Send ICMP echo requests. Exit codes: 0 a reply came, 1 none came, 2 it could not be tried.
#[derive(Debug, Clone, Parser)]
#[command(name = "ping")]
pub struct PingArgs {
    /// Stop after this many requests
    #[arg(short = 'c', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// Seconds between two requests
    #[arg(short = 'i', value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,

    /// Seconds to wait for the last answers
    #[arg(short = 'W', value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// Stop after this many seconds, whatever came back
    #[arg(short = 'w', value_name = "SECONDS", value_parser = seconds)]
    pub deadline: Option<Duration>,

    /// Print the summary only
    #[arg(short = 'q')]
    pub quiet: bool,

    /// Accepted and without effect: addresses are never looked up by number here
    #[arg(short = 'n')]
    pub numeric: bool,

    /// Use IPv4
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use IPv6
    #[arg(short = '6')]
    pub ipv6: bool,

    /// An address, or a name
    #[arg(value_name = "ADDRESS")]
    pub destination: String,
}

/// Reads seconds with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("'{text}' is not a time: {error}"))
}

/// Runs `ping` on a runtime of its own.
pub fn run(args: PingArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("ping {}: this build cannot send yet", args.destination)
}
