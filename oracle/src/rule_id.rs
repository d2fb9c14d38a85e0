//! The numbers under which rules are cited.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The highest numbered rule of meaning.
const LAST_N: u8 = 65;
/// The highest numbered rule of validation.
const LAST_V: u8 = 17;

/// A numbered rule: `N14` of what policies mean, or `V6` of what the API server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleId {
    /// Meaning, 1–65.
    N(u8),
    /// Validation, 1–17.
    V(u8),
}

/// A text that is not the number of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a rule: they are N1 to N65 (meaning) and V1 to V17 (validation)")]
pub struct UnknownRule(String);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleId::N(number) => write!(f, "N{number}"),
            RuleId::V(number) => write!(f, "V{number}"),
        }
    }
}

impl FromStr for RuleId {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownRule(text.to_owned());
        let (series, digits) = text.split_at_checked(1).ok_or_else(unknown)?;
        // `N07` and `N+7` would be second spellings of the same rule.
        if !digits.starts_with(|first: char| matches!(first, '1'..='9')) {
            return Err(unknown());
        }
        let number: u8 = digits.parse().map_err(|_| unknown())?;
        match series {
            "N" if number <= LAST_N => Ok(RuleId::N(number)),
            "V" if number <= LAST_V => Ok(RuleId::V(number)),
            _ => Err(unknown()),
        }
    }
}
