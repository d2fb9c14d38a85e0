//! Connections that are kept open across policy changes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Token;

/// A TCP connection to open and keep, with a numbered heartbeat every interval that the other agent echoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its name, and its source port.
    pub n: Token,
    /// Where it goes.
    pub to: IpAddr,
    /// The destination port.
    pub port: u16,
    /// Milliseconds between heartbeats.
    pub interval_ms: u32,
    /// Milliseconds within which it must be open.
    pub timeout_ms: u32,
}

/// Whether a held connection still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// Established; whether heartbeats come back is in the numbers.
    Open,
    /// It could not be opened.
    Refused,
    /// Reset under way.
    Reset,
    /// Ended by the other side, or released.
    Closed,
    /// This agent knows no such connection (it was restarted).
    Unknown,
}

/// The numbers of a held connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which one.
    pub n: Token,
    /// Whether it stands.
    pub state: HeldState,
    /// Heartbeats sent.
    pub sent: u64,
    /// The number of the last heartbeat that came back; TCP keeps the order, so `sent - echoed` are under way or lost.
    pub echoed: u64,
    /// The longest time between two echoes, in microseconds, the one now running included.
    pub longest_gap_us: u64,
    /// Microseconds since the last echo.
    pub silent_us: u64,
}
