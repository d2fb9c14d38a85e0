//! Chains.

use std::fmt;

/// A chain: a list of rules. A base chain is called by the kernel at its hook, a regular one by `jump` and `goto`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// Its name, unique within the table.
    pub name: String,
    /// Where the kernel calls it; `None` for a regular chain.
    pub base: Option<Base>,
    /// A note for people, at most 128 bytes.
    pub comment: Option<String>,
}

/// Where and when the kernel calls a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// What the chain is for.
    pub kind: ChainType,
    /// The point of a packet's path.
    pub hook: Hook,
    /// The order among the chains of a hook: lower is earlier.
    pub priority: i32,
    /// The verdict on a packet that no rule decided.
    pub policy: Policy,
}

/// What a base chain is for (`type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// Verdicts on packets.
    Filter,
    /// Address translation; sees the first packet of a connection only.
    Nat,
    /// Routes anew when a header or mark has changed; hook output only.
    Route,
}

impl ChainType {
    /// nft's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Filter, Self::Nat, Self::Route].into_iter().find(|kind| kind.name() == name)
    }
}

/// A point of a packet's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before routing, after defragmentation.
    Prerouting,
    /// For this host.
    Input,
    /// From one interface to another.
    Forward,
    /// Made on this host.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// nft's name of the hook.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// The kernel's number of the hook: its place in a packet's path.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.number() == number)
    }
}

/// The verdict on a packet that no rule of a base chain decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It passes.
    Accept,
    /// It does not.
    Drop,
}

impl Policy {
    /// nft's name of the policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        }
    }
}

/// Priorities that have a name in nft.
pub mod priority {
    /// Before connection tracking.
    pub const RAW: i32 = -300;
    /// Header rewriting.
    pub const MANGLE: i32 = -150;
    /// Destination translation, in prerouting and output.
    pub const DSTNAT: i32 = -100;
    /// Filtering.
    pub const FILTER: i32 = 0;
    /// After filtering.
    pub const SECURITY: i32 = 50;
    /// Source translation, in postrouting.
    pub const SRCNAT: i32 = 100;
}

impl Chain {
    /// A regular chain.
    pub fn regular(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None, comment: None }
    }

    /// A base chain.
    ///
    /// Never delete one that is in use: with it go all packets that wait in queues for user space, in the whole network
    /// namespace (P26). Flush it instead.
    pub fn base(name: impl Into<String>, kind: ChainType, hook: Hook, priority: i32, policy: Policy) -> Self {
        Self { name: name.into(), base: Some(Base { kind, hook, priority, policy }), comment: None }
    }

    /// Adds a note for people.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, hook, priority, policy } = self;
        write!(f, "type {} hook {} priority ", kind.name(), hook.name())?;
        write_priority(f, *priority, *hook)?;
        write!(f, "; policy {};", policy.name())
    }
}

/// A priority as nft prints it: the nearest name within 10, with the distance.
fn write_priority(f: &mut fmt::Formatter<'_>, value: i32, hook: Hook) -> fmt::Result {
    let mut named = vec![
        ("raw", priority::RAW),
        ("mangle", priority::MANGLE),
        ("filter", priority::FILTER),
        ("security", priority::SECURITY),
    ];
    match hook {
        Hook::Prerouting => named.push(("dstnat", priority::DSTNAT)),
        Hook::Postrouting => named.push(("srcnat", priority::SRCNAT)),
        _ => {}
    }
    match named.into_iter().map(|(name, at)| (name, value - at)).find(|(_, distance)| distance.abs() <= 10) {
        Some((name, 0)) => f.write_str(name),
        Some((name, distance)) if distance > 0 => write!(f, "{name} + {distance}"),
        Some((name, distance)) => write!(f, "{name} - {}", -distance),
        None => write!(f, "{value}"),
    }
}
