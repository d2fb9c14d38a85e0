//! Connections that are kept open across policy changes, with numbered heartbeats that the other agent echoes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netpol_wire::{Held, HeldState, Hold, Token};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::{echo, prober};

/// A connection that cannot be held.
#[derive(Debug, Error)]
pub(crate) enum HoldError {
    /// The token names another one.
    #[error("a connection of the name {0} is held already; every hold needs a token of its own")]
    Known(Token),
    /// There is no time between its heartbeats.
    #[error("connection {0} cannot be held with an interval of 0 ms; 1 is the least")]
    NoInterval(Token),
}

/// All connections that this agent holds or has held.
#[derive(Debug, Default)]
pub(crate) struct HeldConnections(Mutex<BTreeMap<Token, Arc<Connection>>>);

#[derive(Debug)]
struct Connection {
    numbers: Mutex<Numbers>,
    release: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Numbers {
    state: HeldState,
    sent: u64,
    echoed: u64,
    /// When the last echo came; before the first one, when the connection was opened.
    heard: Instant,
    /// When the connection ended: its silence grows no longer.
    ended: Option<Instant>,
    longest_gap: Duration,
}

impl HeldConnections {
    /// Opens a connection and keeps it; answers as soon as it is open or has failed.
    pub(crate) async fn open(&self, hold: Hold) -> Result<Held, HoldError> {
        let Hold { n, to, port, interval_ms, timeout_ms } = hold;
        if interval_ms == 0 {
            return Err(HoldError::NoInterval(n));
        }
        let connection = Arc::new(Connection::new());
        {
            let mut all = self.all();
            if all.contains_key(&n) {
                return Err(HoldError::Known(n));
            }
            all.insert(n, connection.clone());
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        let opened = tokio::time::timeout(timeout, prober::connect(n, SocketAddr::new(to, port), false)).await;
        let stream = match opened {
            Ok(Ok(socket)) => TcpStream::from_std(socket.into_inner().into()).ok(),
            _ => None,
        };
        let mut numbers = connection.numbers();
        numbers.heard = Instant::now();
        match stream {
            // Released while it was being opened.
            Some(_) if numbers.ended.is_some() => {}
            Some(stream) => {
                numbers.state = HeldState::Open;
                let connection = connection.clone();
                tokio::spawn(async move { connection.beat(stream, Duration::from_millis(interval_ms.into())).await });
            }
            None => numbers.end(HeldState::Refused),
        }
        Ok(numbers.report(n))
    }

    /// How these connections fare.
    pub(crate) fn report(&self, tokens: &[Token]) -> Vec<Held> {
        let all = self.all();
        tokens.iter().map(|&n| all.get(&n).map_or_else(|| unknown(n), |c| c.numbers().report(n))).collect()
    }

    /// Closes these connections, and tells how each stood until then; asked later, they are closed.
    pub(crate) fn release(&self, tokens: &[Token]) -> Vec<Held> {
        let last = self.report(tokens);
        let all = self.all();
        for connection in tokens.iter().filter_map(|n| all.get(n)) {
            connection.numbers().end(HeldState::Closed);
            connection.release.notify_one();
        }
        last
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Token, Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// One that is not open yet.
    fn new() -> Self {
        let numbers = Numbers {
            state: HeldState::Refused,
            sent: 0,
            echoed: 0,
            heard: Instant::now(),
            ended: None,
            longest_gap: Duration::ZERO,
        };
        Self { numbers: Mutex::new(numbers), release: Notify::new() }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends and reads heartbeats until the connection ends or is released; dropping the stream closes it.
    async fn beat(&self, stream: TcpStream, interval: Duration) {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut unsent = Vec::new();
        let mut unread = Vec::new();
        let state = loop {
            let step = tokio::select! {
                () = self.release.notified() => return,
                _ = due.tick() => self.send(&stream, &mut unsent),
                readable = stream.readable() => readable.and_then(|()| self.read(&stream, &mut unread)),
            };
            match step {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break HeldState::Closed,
                // A reset, or the kernel's own end of patience with a silent peer.
                Err(_) => break HeldState::Reset,
            }
        };
        self.numbers().end(state);
    }

    /// Sends the next heartbeat. What the send buffer does not take (after very many lost ones) waits for the next.
    fn send(&self, stream: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
        if unsent.is_empty() {
            let mut numbers = self.numbers();
            numbers.sent += 1;
            unsent.extend_from_slice(format!("beat {}\n", numbers.sent).as_bytes());
        }
        match stream.try_write(unsent) {
            Ok(len) => {
                unsent.drain(..len);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&self, stream: &TcpStream, unread: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; echo::LONGEST];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => unread.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            if let Some(number) = number_of(&line) {
                self.numbers().heard(number);
            }
        }
        Ok(())
    }
}

/// The number in `beat 17 from 10.1.1.2`.
fn number_of(echo: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(echo).ok()?;
    text.strip_prefix("beat ")?.split_once(" from ")?.0.parse().ok()
}

impl Numbers {
    fn heard(&mut self, number: u64) {
        let now = Instant::now();
        self.echoed = self.echoed.max(number);
        self.longest_gap = self.longest_gap.max(now - self.heard);
        self.heard = now;
    }

    /// Keeps the first end: a release does not change that it had been reset before.
    fn end(&mut self, state: HeldState) {
        if self.ended.is_none() {
            self.state = state;
            self.ended = Some(Instant::now());
        }
    }

    fn report(&self, n: Token) -> Held {
        let silent = self.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.heard);
        Held {
            n,
            state: self.state,
            sent: self.sent,
            echoed: self.echoed,
            longest_gap_us: prober::micros(self.longest_gap.max(silent)),
            silent_us: prober::micros(silent),
        }
    }
}

fn unknown(n: Token) -> Held {
    Held { n, state: HeldState::Unknown, sent: 0, echoed: 0, longest_gap_us: 0, silent_us: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_echo_is_read() {
        assert_eq!(number_of(b"beat 17 from 10.1.1.2\n"), Some(17));
        assert_eq!(number_of(b"beat from 10.1.1.2\n"), None);
        assert_eq!(number_of(b"probe 17 from 10.1.1.2\n"), None);
    }

    #[test]
    fn the_gap_that_is_running_counts_until_the_end() {
        let connection = Connection::new();
        let mut numbers = connection.numbers();
        numbers.heard = Instant::now() - Duration::from_secs(3);
        assert!(numbers.report(Token(1)).longest_gap_us >= 3_000_000);
        numbers.end(HeldState::Reset);
        numbers.end(HeldState::Closed);
        let first = numbers.report(Token(1));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(first, numbers.report(Token(1)));
        assert_eq!(first.state, HeldState::Reset);
    }
}
