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
    /// How many elements at most packets may add, each for its time, by [`Rule::update`](crate::Rule::update). None: packets
    /// add nothing.
    pub filled_by_packets: Option<u32>,
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
        let (name, key) = (name.into(), key.into());
        Self { name, key, maps_to: MapsTo::Nothing, interval: false, filled_by_packets: None, comment: None }
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

    /// `flags dynamic,timeout`: packets add elements, `most` of them, which are forgotten after their time.
    pub fn filled_by_packets(mut self, most: u32) -> Self {
        self.filled_by_packets = Some(most);
        self
    }

    /// Adds a note for people.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// What nft declares beside the type.
    pub(crate) fn properties(&self) -> Vec<String> {
        let size = self.filled_by_packets.map(|most| format!("size {most}"));
        let flags: Vec<&str> = [
            self.filled_by_packets.map(|_| "dynamic"),
            Some("interval").filter(|_| self.interval),
            self.filled_by_packets.map(|_| "timeout"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let flags = Some(flags).filter(|flags| !flags.is_empty()).map(|flags| format!("flags {}", flags.join(",")));
        let comment = self.comment.as_ref().map(|comment| format!("comment \"{comment}\""));
        [size, flags, comment].into_iter().flatten().collect()
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
