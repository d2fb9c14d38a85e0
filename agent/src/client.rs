//! The client of the walkthrough: one request per interval, each on a new connection, one line on stdout per response.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use reqwest::header::{CONNECTION, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::time::MissedTickBehavior;

/// A response may take as long as the interval, but on short intervals at least this long: a busy machine is not a policy.
const LEAST_TIMEOUT: Duration = Duration::from_millis(500);
/// And on long intervals at most this long.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a response's first line that are logged.
const LOGGED: usize = 200;

/// What is requested, and how often.
pub(crate) struct Requests {
    pub(crate) target: Url,
    pub(crate) interval: Duration,
    /// How long a response may take, where somebody says so.
    pub(crate) timeout: Option<Duration>,
}

impl Requests {
    /// Requests the target for ever. A new connection each time, because an established one survives a policy (N63).
    ///
    /// What fails is not logged: `kubectl logs` merges stdout and stderr, and the lesson is that the log stops growing.
    /// A request that is under way when the next is due takes its place, so that requests do not pile up behind a policy; the
    /// next one then starts at the next multiple of the interval. Who wants to see how short a time a policy was not there gives a short
    /// timeout: a lost SYN is not sent again for a second.
    pub(crate) async fn send_forever(self) -> anyhow::Result<()> {
        let Self { target, interval, timeout } = self;
        let client = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(no_tls()?)
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .timeout(timeout.unwrap_or_else(|| interval.clamp(LEAST_TIMEOUT, LONGEST_TIMEOUT)))
            .build()
            .context("cannot set up an HTTP client")?;
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            due.tick().await;
            let started = Instant::now();
            let Ok(response) =
                client.get(target.clone()).header(CONNECTION, HeaderValue::from_static("close")).send().await
            else {
                continue;
            };
            let (status, from) = (response.status(), response.remote_addr());
            let Ok(body) = response.text().await else { continue };
            let line = log_line(Timestamp::now(), status, from, &body, started.elapsed());
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write the log to stdout")?;
        }
    }
}

/// The target speaks plain HTTP. Without this the client would load the system's certificates, of which the image has none, and
/// refuse to be.
fn no_tls() -> anyhow::Result<rustls::ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// `2026-11-22T10:00:00.123Z 200 from 10.1.2.3:8888: server saw 10.1.1.2 (3 ms)`
fn log_line(at: Timestamp, status: StatusCode, from: Option<SocketAddr>, body: &str, took: Duration) -> impl Display {
    let at = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let from = from.map_or_else(|| "?".to_owned(), |from| from.to_string());
    let said: String = body.lines().next().unwrap_or_default().chars().take(LOGGED).collect();
    format!("{at} {} from {from}: {said} ({} ms)", status.as_u16(), took.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_holds_time_status_address_and_first_line() {
        let line = log_line(
            "2026-11-22T10:00:00.123456Z".parse().unwrap(),
            StatusCode::OK,
            Some("10.1.2.3:8888".parse().unwrap()),
            "server saw 10.1.1.2\nmore\n",
            Duration::from_micros(3_900),
        );
        assert_eq!(line.to_string(), "2026-11-22T10:00:00.123Z 200 from 10.1.2.3:8888: server saw 10.1.1.2 (3 ms)");
    }
}
