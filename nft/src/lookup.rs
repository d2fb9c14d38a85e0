//! What a rule looks up, and where: fields of the packet or a generated number, in a named set or in one of the rule's own.

use std::fmt;

use crate::element::{Element, ElementValue};
use crate::field::Field;
use crate::set::{MapsTo, Set, write_concatenation};
use crate::value::{DataType, Value};

/// A set or map that a rule uses: a named one of its table, or one that belongs to the rule alone and goes with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetRef {
    /// `@name`.
    Named(String),
    /// `{ … }`. nft reads a set of a single key as a plain comparison: give such a rule the comparison.
    Anonymous(Vec<Element>),
}

impl From<&str> for SetRef {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<String> for SetRef {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<&String> for SetRef {
    fn from(name: &String) -> Self {
        Self::Named(name.clone())
    }
}

impl From<Vec<Element>> for SetRef {
    fn from(elements: Vec<Element>) -> Self {
        Self::Anonymous(elements)
    }
}

impl<const N: usize> From<[Element; N]> for SetRef {
    fn from(elements: [Element; N]) -> Self {
        Self::Anonymous(elements.into())
    }
}

impl fmt::Display for SetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "@{name}"),
            Self::Anonymous(elements) => {
                let elements: Vec<String> = elements.iter().map(Element::to_string).collect();
                write!(f, "{{ {} }}", elements.join(", "))
            }
        }
    }
}

/// A number from `offset` to `offset + modulus - 1` that the kernel makes for each packet that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numgen {
    /// How it is made.
    pub mode: NumgenMode,
    /// How many numbers there are; not zero.
    pub modulus: u32,
    /// The lowest.
    pub offset: u32,
}

/// How a number is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumgenMode {
    /// `inc`: one more each time, then from the start.
    Incremental,
    /// `random`.
    Random,
}

impl Numgen {
    /// A random number below `modulus`, which is not zero.
    pub fn random(modulus: u32) -> Self {
        Self { mode: NumgenMode::Random, modulus, offset: 0 }
    }

    /// Numbers below `modulus`, which is not zero, in turn.
    pub fn incremental(modulus: u32) -> Self {
        Self { mode: NumgenMode::Incremental, modulus, offset: 0 }
    }
}

impl fmt::Display for Numgen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            NumgenMode::Incremental => "inc",
            NumgenMode::Random => "random",
        };
        write!(f, "numgen {mode} mod {}", self.modulus)?;
        if self.offset != 0 { write!(f, " offset {}", self.offset) } else { Ok(()) }
    }
}

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LookupKey {
    Fields(Vec<Field>),
    Numgen(Numgen),
}

impl LookupKey {
    /// The fields of the packet that it reads.
    pub(crate) fn fields(&self) -> &[Field] {
        match self {
            Self::Fields(fields) => fields,
            Self::Numgen(_) => &[],
        }
    }

    fn types(&self) -> Vec<DataType> {
        match self {
            Self::Fields(fields) => fields.iter().map(|field| field.data_type()).collect(),
            Self::Numgen(_) => vec![DataType::Integer],
        }
    }

    /// The text, with the fields' names as the rule has them.
    pub(crate) fn text(&self, name: impl Fn(Field) -> String) -> String {
        match self {
            Self::Numgen(numgen) => numgen.to_string(),
            Self::Fields(fields) => {
                let names: Vec<String> = fields.iter().map(|field| name(*field)).collect();
                let mut joined = String::new();
                // Writing to a string cannot fail.
                let _ = write_concatenation(&mut joined, &names);
                joined
            }
        }
    }

    /// The declaration of the set of a rule's own that holds these elements.
    pub(crate) fn anonymous_set(&self, elements: &[Element]) -> Set {
        let maps_to = match elements.first().and_then(|element| element.value.as_ref()) {
            None => MapsTo::Nothing,
            Some(ElementValue::Verdict(_)) => MapsTo::Verdict,
            Some(ElementValue::Data(data)) => MapsTo::Data(data.0.iter().map(Value::data_type).collect()),
        };
        // The kernel puts a number where it says %d.
        let name = if maps_to == MapsTo::Nothing { "__set%d" } else { "__map%d" };
        let interval = elements.iter().any(|element| element.end.is_some());
        Set { maps_to, interval, ..Set::new(name, self.types()) }
    }
}
