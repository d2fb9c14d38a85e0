//! What can go wrong, and what to do about it.

use std::fmt;

use rustix::io::Errno;
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
    #[error(
        "'{text}' is not an interval of this set: expected start <= end, fields that have an order, and a set with flags interval"
    )]
    Interval {
        /// The element.
        text: String,
    },
    /// Marks and interface names are stored in the host's byte order, so that the kernel cannot order them.
    #[error("set '{set}' has flags interval, but values of type {data_type} have no order in the kernel")]
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
    /// A rule that was listed and that we could not have written.
    #[error("the rule has an expression '{expression}' that cannot be written here")]
    Foreign {
        /// The kernel's name of the expression.
        expression: String,
    },
    /// A key with no fields, or with more than fit the kernel's registers.
    #[error("a concatenation of {bytes} bytes is not possible: expected 1 to 64")]
    Concatenation {
        /// Bytes, with padding.
        bytes: usize,
    },
}

/// What went wrong between us and the kernel.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel has no nf_tables, or cannot load it.
    #[error(
        "this kernel has no nf_tables: as root run 'modprobe nf_tables', or use a kernel built with CONFIG_NF_TABLES and \
         CONFIG_NF_TABLES_INET"
    )]
    Unsupported,
    /// We lack CAP_NET_ADMIN.
    #[error(
        "using nf_tables is not permitted: it needs CAP_NET_ADMIN in the user namespace that owns the network namespace; \
         run as root, or in a user namespace together with a new network namespace"
    )]
    Permission,
    /// The socket failed.
    #[error("{doing} failed: {source}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An operation cannot be said to the kernel; nothing was sent.
    #[error("cannot {}: {source}; nothing was changed", shorten(operation))]
    Invalid {
        /// The operation, as a command of nft.
        operation: String,
        /// What is wrong with it.
        source: InvalidObject,
    },
    /// A transaction is one datagram, and this one does not fit; nothing was sent.
    #[error(
        "a transaction of {bytes} bytes does not fit the send buffer of {limit}: raise it by \
         'sysctl net.core.wmem_max={bytes}' as root of the host, or fill large sets in several transactions"
    )]
    TooLarge {
        /// Bytes of the transaction.
        bytes: usize,
        /// Bytes of the buffer, as large as the kernel let us make it.
        limit: usize,
    },
    /// The kernel refused operations, and nothing was changed.
    #[error("nf_tables refused {}; nothing was changed", describe(failures))]
    Rejected {
        /// The operations that it refused, in order. Later ones may be consequences of the first.
        failures: Vec<Failure>,
    },
    /// A list could not be read.
    #[error("listing what nf_tables holds failed: {errno}")]
    List {
        /// Why.
        errno: Errno,
    },
    /// Connection tracking could not be read or changed.
    #[error(
        "{doing} failed: {errno}; it needs the kernel's nf_conntrack_netlink (as root: 'modprobe nf_conntrack_netlink')"
    )]
    Conntrack {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// The kernel did not answer, or its answers did not fit the socket's queue.
    #[error("nf_tables did not acknowledge the request: what it holds is unknown; list it before going on")]
    Unanswered,
}

/// An operation that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The operation as a command of nft; `None` for the transaction as a whole.
    pub operation: Option<String>,
    /// Why.
    pub errno: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation.as_deref().map_or("the transaction as a whole".into(), shorten);
        write!(f, "'{operation}': {}", self.errno)?;
        f.write_str(match self.errno {
            Errno::NOENT => " (it names something that is not there)",
            Errno::EXIST => " (it is there already, with other contents: delete it first in the same transaction)",
            Errno::BUSY => " (it is still referred to, or differs from what is there)",
            Errno::MLINK => " (chains would call each other in a circle, or too deep)",
            Errno::OPNOTSUPP | Errno::NODEV => " (the kernel, or this kind of chain, lacks the feature)",
            Errno::NOSPC | Errno::NFILE | Errno::NOMEM => " (the kernel has no room left for it)",
            _ => "",
        })
    }
}

fn describe(failures: &[Failure]) -> String {
    match failures {
        [] => "the transaction".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

/// The beginning of a command that may name thousands of elements.
fn shorten(command: &str) -> String {
    const LIMIT: usize = 240;
    match command.char_indices().nth(LIMIT) {
        None => command.to_owned(),
        Some((end, _)) => format!("{} … ({} more bytes)", &command[..end], command.len() - end),
    }
}
