//! `ping`, as far as people and scripts use it: the subset of iputils' interface that reads `ping [-c N] [-i S] [-W S]
//! [-w S] [-q] [-n] [-4|-6] ADDRESS`.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use netpol_wire::Token;
use tokio::time::sleep_until;

use crate::prober::{Echo, EchoSocket, PAYLOAD};
use crate::signals::Signals;

/// No usable address, no route, no permission.
const NOT_TRIED: u8 = 2;
/// Bytes of an IPv4 header and an ICMP header, for the first line.
const HEADERS: usize = 28;

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

/// Runs `ping` on a runtime of its own. SIGINT and SIGTERM end it with the summary.
///
/// # Errors
/// Only if the runtime cannot be set up; what concerns the network is printed, and told by the exit code.
pub fn run(args: PingArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let code = runtime.block_on(async {
        match session(&args).await {
            Ok(summary) => summary.exit_code(&args),
            Err(error) => {
                eprintln!("ping: {}: {error}", args.destination);
                ExitCode::from(NOT_TRIED)
            }
        }
    });
    runtime.shutdown_background();
    Ok(code)
}

/// What was sent and what came back.
#[derive(Debug, Default)]
struct Summary {
    sent: u32,
    errors: u32,
    /// Milliseconds of each round trip.
    times: Vec<f64>,
}

async fn session(args: &PingArgs) -> io::Result<Summary> {
    let to = resolve(args)?;
    let socket = open(to)?;
    let mut signals = Signals::new()?;
    println!("PING {} ({to}) {PAYLOAD}({}) bytes of data.", args.destination, PAYLOAD + HEADERS);
    let began = Instant::now();
    let deadline = args.deadline.map(|deadline| began + deadline);
    let mut summary = Summary::default();
    let mut sent_at: Vec<Option<Instant>> = Vec::new();
    let mut next = began;
    loop {
        let all_sent = args.count.is_some_and(|count| summary.sent >= count);
        if all_sent && sent_at.iter().all(Option::is_none) {
            break;
        }
        let wake = if all_sent { next - args.interval + args.timeout } else { next };
        let wake = deadline.map_or(wake, |deadline| deadline.min(wake));
        tokio::select! {
            biased;
            _ = signals.next() => break,
            echo = socket.receive() => heard(args, to, echo?, &mut sent_at, &mut summary),
            () = sleep_until(wake.into()) => {
                if all_sent || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    break;
                }
                // Sequence numbers wrap at 65,536 as ICMP's do.
                let seq = (summary.sent + 1) as u16;
                let at = Instant::now();
                match socket.send(seq) {
                    Ok(()) => sent_at.push(Some(at)),
                    Err(error) => {
                        eprintln!("ping: cannot send: {error}");
                        sent_at.push(None);
                    }
                }
                summary.sent += 1;
                next = at.max(next) + args.interval;
            }
        }
    }
    summary.print(args, began.elapsed());
    Ok(summary)
}

/// Takes note of a reply or an error; a sequence number that has been answered before is a duplicate.
fn heard(args: &PingArgs, to: IpAddr, echo: Echo, sent_at: &mut [Option<Instant>], summary: &mut Summary) {
    // The latest request with this number, should they have wrapped.
    let slot = |seq: u16| (0..sent_at.len()).rev().find(|&i| (i + 1) as u16 == seq);
    match echo {
        Echo::Reply { seq, len, ttl, at } => {
            let Some(i) = slot(seq) else { return };
            let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
            match sent_at.get_mut(i).and_then(Option::take) {
                Some(sent) => {
                    let time = (at - sent).as_secs_f64() * 1e3;
                    summary.times.push(time);
                    if !args.quiet {
                        println!("{len} bytes from {to}: icmp_seq={seq}{ttl} time={time:.3} ms");
                    }
                }
                None if args.quiet => {}
                None => println!("{len} bytes from {to}: icmp_seq={seq}{ttl} (DUP!)"),
            }
        }
        Echo::Error { seq, error } => {
            summary.errors += 1;
            if let Some(answered) = slot(seq).and_then(|i| sent_at.get_mut(i)) {
                *answered = None;
            }
            if !args.quiet {
                println!("From {}: icmp_seq={seq} {error}", error.from.unwrap_or(to));
            }
        }
    }
}

impl Summary {
    fn print(&self, args: &PingArgs, took: Duration) {
        let received = self.times.len() as u32;
        let loss = if self.sent == 0 {
            0.0
        } else {
            f64::from(self.sent.saturating_sub(received)) * 100.0 / f64::from(self.sent)
        };
        let errors = if self.errors > 0 { format!(", +{} errors", self.errors) } else { String::new() };
        println!("\n--- {} ping statistics ---", args.destination);
        println!(
            "{} packets transmitted, {received} received{errors}, {}% packet loss, time {}ms",
            self.sent,
            (loss * 10.0).round() / 10.0,
            took.as_millis()
        );
        if !self.times.is_empty() {
            let count = self.times.len() as f64;
            let mean = self.times.iter().sum::<f64>() / count;
            let deviation = (self.times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count).sqrt();
            let least = self.times.iter().copied().fold(f64::INFINITY, f64::min);
            let most = self.times.iter().copied().fold(0.0, f64::max);
            println!("rtt min/avg/max/mdev = {least:.3}/{mean:.3}/{most:.3}/{deviation:.3} ms");
        }
    }

    /// 0 with a reply, 1 without; with both -c and -w, 1 also when fewer than the count came in time.
    fn exit_code(&self, args: &PingArgs) -> ExitCode {
        let wanted = match (args.count, args.deadline) {
            (Some(count), Some(_)) => count as usize,
            _ => 1,
        };
        if self.times.len() >= wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn resolve(args: &PingArgs) -> io::Result<IpAddr> {
    let wanted = |address: &IpAddr| !(args.ipv4 && address.is_ipv6() || args.ipv6 && address.is_ipv4());
    let addresses = match args.destination.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => (args.destination.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect(),
    };
    addresses.into_iter().find(wanted).ok_or_else(|| io::Error::other("no address of the wanted family"))
}

/// Opens a socket with an identifier that no probe uses, so that a capture does not take a person's ping for a probe.
fn open(to: IpAddr) -> io::Result<EchoSocket> {
    let begin = std::process::id() as u16;
    let ids = (0..=u16::MAX).map(|i| begin.wrapping_add(i)).filter(|&id| id != 0 && !Token::owns(id));
    for id in ids {
        match EchoSocket::open(to, id) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    Err(io::Error::other("all ICMP identifiers are in use"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<PingArgs, clap::Error> {
        PingArgs::try_parse_from(std::iter::once(&"ping").chain(arguments))
    }

    #[test]
    fn the_usual_flags_are_read() {
        let args = parse(&["-c", "3", "-i", "0.2", "-W1", "-q", "-4", "10.0.0.1"]).unwrap();
        assert_eq!(
            (args.count, args.interval, args.timeout),
            (Some(3), Duration::from_millis(200), Duration::from_secs(1))
        );
        assert!(args.quiet && args.ipv4 && !args.ipv6);
        assert_eq!(resolve(&args).unwrap(), IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn bad_usage_is_refused_with_code_2() {
        for bad in [&["-c", "0", "10.0.0.1"][..], &["-i", "soon", "10.0.0.1"], &["-4", "-6", "::1"], &[]] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        assert!(resolve(&parse(&["-6", "10.0.0.1"]).unwrap()).is_err());
    }
}
