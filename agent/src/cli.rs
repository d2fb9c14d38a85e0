//! The arguments of `netpol agent`.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Url;

/// What runs in a pod: a server, a client, or the relay to either.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// What to run.
    #[command(subcommand)]
    pub command: AgentCommand,
}

/// The agent's subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum AgentCommand {
    /// Listen on ports, and probe when asked to
    Server(ServerArgs),
    /// The same, and send a request to a server again and again, one line on stdout for every response
    Client(ClientArgs),
    /// Relay stdin and stdout to the agent of this pod (run by pods/exec)
    Attach,
}

/// Where to listen.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Answer here, over TCP (HTTP, or lines that are echoed) and over UDP (datagrams that are echoed); may be repeated
    #[arg(long = "port", value_name = "PORT")]
    pub ports: Vec<u16>,

    /// Answer here over UDP only; may be repeated
    #[arg(long = "udp-port", value_name = "PORT")]
    pub udp_ports: Vec<u16>,

    /// Answer INITs here over SCTP, by raw packets (needs NET_RAW); may be repeated
    #[arg(long = "sctp-port", value_name = "PORT")]
    pub sctp_ports: Vec<u16>,

    /// Go on after SIGTERM, until the end of the grace period: for pods that are looked at while they are being deleted
    #[arg(long)]
    pub linger: bool,
}

/// What to request, and how often.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Request this URL, each time on a new connection
    #[arg(long, value_name = "URL")]
    pub target: Url,

    /// Time between two requests, such as 1s or 100ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// Give up a request after this time, and send the next [default: the interval, but no less than 500ms and no more than 5s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub timeout: Option<Duration>,

    /// End after this time, such as 500ms, with success whatever came of the requests; for init containers [default: never]
    #[arg(long = "for", value_name = "DURATION", value_parser = interval)]
    pub duration: Option<Duration>,

    /// Where the client itself listens.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Reads an interval: `250ms`, `1s`, `1.5s`, `1m`; a number without a unit counts seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("'{unit}' is no unit of time: expected us, ms, s or m")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("'{text}' is not a time: expected for example 1s or 100ms"))?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(interval) if interval >= Duration::from_millis(1) => Ok(interval),
        Ok(_) => Err(format!("'{text}' is too short: 1ms is the least")),
        Err(error) => Err(format!("'{text}' is not a time: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_with_their_unit() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(interval("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(interval("2m"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_interval_is_refused_with_the_reason() {
        assert!(interval("0s").unwrap_err().contains("too short"));
        assert!(interval("1h").unwrap_err().contains("no unit"));
        assert!(interval("soon").unwrap_err().contains("no unit"));
        assert!(interval("1.2.3s").unwrap_err().contains("not a time"));
        assert!(interval("").is_err());
        assert!(interval("99999999999999999999999s").is_err());
    }
}
