//! What can go wrong, and what to do about it.

use thiserror::Error;

use crate::value::DataType;

/// An object that cannot be said to the kernel. This is a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidObject {
    /// The kernel has no room for such an interface name.
    #[error("'{name}' is not an interface name: expected 1 to 15 bytes")]
    Ifname {
        /// The name.
        name: String,
    },
    /// Names of tables, chains and sets are 1 to 255 bytes.
    #[error("'{name}' is not a name: expected 1 to 255 bytes without a zero")]
    Name {
        /// The name.
        name: String,
    },
    /// Comments are at most 128 bytes.
    #[error("the comment '{comment}' is too long: expected at most 128 bytes without a zero")]
    Comment {
        /// The comment.
        comment: String,
    },
    /// A key or a value whose fields do not have the types that the set declares.
    #[error("'{text}' does not have the type that the set declares, {expected:?}")]
    Type {
        /// The key or value.
        text: String,
        /// The declared types.
        expected: Vec<DataType>,
    },
    /// An interval whose end is below its start, or an interval in a set without `flags interval`.
    #[error("'{text}' is not an interval of this set: expected start <= end, and a set with flags interval")]
    Interval {
        /// The element.
        text: String,
    },
    /// Marks are stored in the host's byte order, so that the kernel cannot order them.
    #[error("set '{set}' has flags interval and a field of type {data_type}, which the kernel cannot order")]
    Unordered {
        /// The set.
        set: String,
        /// The field's type.
        data_type: DataType,
    },
    /// A value where the set declares none, or none where it declares one.
    #[error("element '{text}' must have a value exactly if the set is a map, of the kind that the map declares")]
    Value {
        /// The element.
        text: String,
    },
    /// A key with no fields, or with more than fit the kernel's registers.
    #[error("a concatenation of {bytes} bytes is not possible: expected 1 to 64")]
    Concatenation {
        /// Bytes, with padding.
        bytes: usize,
    },
}
