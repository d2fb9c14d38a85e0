//! What becomes of a packet.

use std::fmt;

/// The end of a rule, or the value of an element of a verdict map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Ends the evaluation of the base chain; base chains of a later priority still see the packet (P40).
    Accept,
    /// Ends the packet.
    Drop,
    /// Goes on with the next rule.
    Continue,
    /// Goes back to the calling chain; in a base chain: its policy.
    Return,
    /// Evaluates a regular chain, then goes on after this rule.
    Jump(String),
    /// Evaluates a regular chain and does not come back.
    Goto(String),
}

impl Verdict {
    /// `jump <chain>`.
    pub fn jump(chain: impl Into<String>) -> Self {
        Self::Jump(chain.into())
    }

    /// `goto <chain>`.
    pub fn goto(chain: impl Into<String>) -> Self {
        Self::Goto(chain.into())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}
