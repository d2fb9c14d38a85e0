//! Elements of sets and maps.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::protocol::{IcmpType, Icmpv6Type, Protocol};
use crate::set::write_concatenation;
use crate::value::Value;
use crate::verdict::Verdict;

/// A key: one value, or several that are concatenated. Made from a value or a tuple of values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<Value>);

macro_rules! key_from_value {
    ($($source:ty),+ $(,)?) => {
        $(impl From<$source> for Key {
            fn from(value: $source) -> Self {
                Self(vec![value.into()])
            }
        })+
    };
}

key_from_value!(Value, IpAddr, Ipv4Addr, Ipv6Addr, Protocol, IcmpType, Icmpv6Type, u16, String, &str);

impl<A: Into<Value>, B: Into<Value>> From<(A, B)> for Key {
    fn from((a, b): (A, B)) -> Self {
        Self(vec![a.into(), b.into()])
    }
}

impl<A: Into<Value>, B: Into<Value>, C: Into<Value>> From<(A, B, C)> for Key {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self(vec![a.into(), b.into(), c.into()])
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_concatenation(f, &self.0)
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The key, or the lowest key of an interval.
    pub key: Key,
    /// The highest key of an interval, inclusive. Each field of a concatenation is an interval of its own.
    pub end: Option<Key>,
    /// What the key maps to.
    pub value: Option<ElementValue>,
    /// A note for people, at most 128 bytes.
    pub comment: Option<String>,
}

/// What a key maps to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementValue {
    /// The value of a verdict map.
    Verdict(Verdict),
    /// The value of a map to data.
    Data(Key),
}

impl Element {
    /// An element of one key.
    pub fn new(key: impl Into<Key>) -> Self {
        Self { key: key.into(), end: None, value: None, comment: None }
    }

    /// Makes the key an interval, up to and including `end`.
    pub fn to(mut self, end: impl Into<Key>) -> Self {
        let end = end.into();
        self.end = (end != self.key).then_some(end);
        self
    }

    /// Maps the key to a verdict.
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.value = Some(ElementValue::Verdict(verdict));
        self
    }

    /// Maps the key to data.
    pub fn data(mut self, data: impl Into<Key>) -> Self {
        self.value = Some(ElementValue::Data(data.into()));
        self
    }

    /// Adds a note for people.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

/// The addresses of a CIDR; bits of the host part are ignored (P11).
impl From<IpNet> for Element {
    fn from(net: IpNet) -> Self {
        Self::new(net.network()).to(net.broadcast())
    }
}

impl From<Ipv4Net> for Element {
    fn from(net: Ipv4Net) -> Self {
        IpNet::from(net).into()
    }
}

impl From<Ipv6Net> for Element {
    fn from(net: Ipv6Net) -> Self {
        IpNet::from(net).into()
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            None => write!(f, "{}", self.key)?,
            Some(end) => {
                for (index, (from, to)) in self.key.0.iter().zip(&end.0).enumerate() {
                    f.write_str(if index == 0 { "" } else { " . " })?;
                    write_interval(f, from, to)?;
                }
            }
        }
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match &self.value {
            None => Ok(()),
            Some(ElementValue::Verdict(verdict)) => write!(f, " : {verdict}"),
            Some(ElementValue::Data(data)) => write!(f, " : {data}"),
        }
    }
}

/// An interval as nft prints it: a single value, a prefix where it is one, else both ends.
fn write_interval(f: &mut fmt::Formatter<'_>, from: &Value, to: &Value) -> fmt::Result {
    let prefix = match (from, to) {
        (Value::Ipv4(from), Value::Ipv4(to)) => prefix_length(from.to_bits().into(), to.to_bits().into(), 32),
        (Value::Ipv6(from), Value::Ipv6(to)) => prefix_length(from.to_bits(), to.to_bits(), 128),
        _ => None,
    };
    match prefix {
        _ if from == to => write!(f, "{from}"),
        Some(length) => write!(f, "{from}/{length}"),
        None => write!(f, "{from}-{to}"),
    }
}

/// The length of the prefix that covers exactly `from..=to`, if there is one.
fn prefix_length(from: u128, to: u128, width: u32) -> Option<u32> {
    let host = from ^ to;
    (host.wrapping_add(1) & host == 0 && from & host == 0 && to & host == host)
        .then(|| width - (u128::BITS - host.leading_zeros()))
}
