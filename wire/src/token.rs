//! The name of a probe, which is at the same time its tuple.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The first source port that probes use.
const FIRST: u16 = 10_000;
/// Numbers the probes of one agent, from 0; on the wire in base 36 (`"a1"` is 361).
///
/// The number fixes the probe's source port, or its ICMP identifier: [`Token::tuple_id`]. The receiving pod can so tell
/// whether a bare SYN belongs to a probe without having been told of it first. The harness counts up per agent:
/// a tuple comes back only after 20,000 probes of the same pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(pub u32);

impl Token {
    /// How many tuples there are: 10000–29999, below Linux's ephemeral ports (32768 and up), so that no other socket of the pod holds one.
    pub const SPAN: u32 = 20_000;

    /// The source port (TCP, UDP, SCTP) or the identifier (ICMP echo) of this probe.
    pub fn tuple_id(self) -> u16 {
        // SPAN fits into u16, and FIRST + SPAN does.
        FIRST + (self.0 % Self::SPAN) as u16
    }

    /// Whether a source port or ICMP identifier is one that probes use.
    pub fn owns(tuple_id: u16) -> bool {
        (FIRST..FIRST + Self::SPAN as u16).contains(&tuple_id)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut digits = Vec::new();
        loop {
            digits.push(char::from_digit(rest % 36, 36).unwrap_or('0'));
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

/// A token that is not a number in base 36 of at most 32 bits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a token: expected a number in base 36 below 2^32, such as 'a1'")]
pub struct InvalidToken(String);

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 36).map(Token).map_err(|_| InvalidToken(text.to_owned()))
    }
}

impl TryFrom<String> for Token {
    type Error = InvalidToken;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}
