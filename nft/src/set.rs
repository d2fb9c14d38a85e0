//! Sets and maps.

use std::fmt;

use crate::value::DataType;

/// A named set, or a map if its elements have values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    /// Its name, unique within the table.
    pub name: String,
    /// The fields of a key; more than one make a concatenation (`inet_proto . inet_service`).
    pub key: Vec<DataType>,
    /// What an element maps to.
    pub maps_to: MapsTo,
    /// Whether keys may be intervals. They must not overlap: see [`AddressRanges`](crate::AddressRanges) (P10).
    pub interval: bool,
    /// A note for people, at most 128 bytes.
    pub comment: Option<String>,
}

/// What the elements of a set map to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapsTo {
    /// Nothing: a set.
    Nothing,
    /// A verdict: a verdict map, for `vmap`.
    Verdict,
    /// Data, such as the address and port of a translation.
    Data(Vec<DataType>),
}

impl Set {
    /// A set of keys.
    pub fn new(name: impl Into<String>, key: impl Into<Vec<DataType>>) -> Self {
        Self { name: name.into(), key: key.into(), maps_to: MapsTo::Nothing, interval: false, comment: None }
    }

    /// A map from keys to verdicts.
    pub fn verdict_map(name: impl Into<String>, key: impl Into<Vec<DataType>>) -> Self {
        Self { maps_to: MapsTo::Verdict, ..Self::new(name, key) }
    }

    /// A map from keys to data.
    pub fn map(name: impl Into<String>, key: impl Into<Vec<DataType>>, data: impl Into<Vec<DataType>>) -> Self {
        Self { maps_to: MapsTo::Data(data.into()), ..Self::new(name, key) }
    }

    /// `flags interval`: keys may be intervals.
    pub fn interval(mut self) -> Self {
        self.interval = true;
        self
    }

    /// Adds a note for people.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// `set` or `map`, as nft says.
    pub(crate) fn keyword(&self) -> &'static str {
        match self.maps_to {
            MapsTo::Nothing => "set",
            MapsTo::Verdict | MapsTo::Data(_) => "map",
        }
    }
}

/// The type as nft declares it, such as `ipv4_addr . inet_service : verdict`.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_concatenation(f, &self.key)?;
        match &self.maps_to {
            MapsTo::Nothing => Ok(()),
            MapsTo::Verdict => f.write_str(" : verdict"),
            MapsTo::Data(types) => {
                f.write_str(" : ")?;
                write_concatenation(f, types)
            }
        }
    }
}

/// Fields joined as nft joins them.
pub(crate) fn write_concatenation<T: fmt::Display>(f: &mut impl fmt::Write, fields: &[T]) -> fmt::Result {
    for (index, field) in fields.iter().enumerate() {
        write!(f, "{}{field}", if index == 0 { "" } else { " . " })?;
    }
    Ok(())
}
