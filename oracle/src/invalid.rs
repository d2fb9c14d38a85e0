//! Policies that the API server refuses.

use std::fmt;

use thiserror::Error;

use crate::{PolicyName, RuleId};

/// The type of a cause in the API server's 422 answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A value outside the enumerated ones.
    FieldValueNotSupported,
    /// A value that does not have the form asked for.
    FieldValueInvalid,
    /// A value is missing.
    FieldValueRequired,
    /// A value that may not stand beside another.
    FieldValueForbidden,
    /// The second object of that name.
    FieldValueDuplicate,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something in a policy that makes it invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("policy {policy} is invalid at {field}: {what}")]
pub struct InvalidPolicy {
    /// Which policy.
    pub policy: PolicyName,
    /// The place within it, such as `spec.ingress[0].from[0].ipBlock.cidr`.
    pub field: String,
    /// The cause's type in the API server's answer.
    pub cause: Cause,
    /// The rule of validation; none for a second policy of the same name.
    pub rule: Option<RuleId>,
    /// What is wrong, with the value.
    pub what: String,
}

/// Collects what is wrong with one policy.
#[derive(Debug)]
pub(crate) struct Complaints {
    policy: PolicyName,
    pub(crate) found: Vec<InvalidPolicy>,
}

impl Complaints {
    pub(crate) fn about(policy: PolicyName) -> Self {
        Complaints { policy, found: Vec::new() }
    }

    /// Notes that rule V`number` is broken at `field`.
    pub(crate) fn add(&mut self, number: u8, cause: Cause, field: &str, what: String) {
        let rule = Some(RuleId::V(number));
        self.found.push(InvalidPolicy { policy: self.policy.clone(), field: field.to_owned(), cause, rule, what });
    }
}
