//! Typed nftables over netlink, without Kubernetes.
//!
//! Values describe what the kernel shall hold: a [`Table`], its [`Chain`]s, [`Set`]s with [`Element`]s, and [`Rule`]s that read
//! like `nft list`. A [`Transaction`] holds changes, and a [`Connection`] applies them atomically: all or nothing, and
//! an error that names the operation. [`Ruleset`] is a whole table as a value, with the text that nft would print.
//! [`conntrack`] lists connections and makes the kernel forget some.

mod action;
mod address_ranges;
mod attribute;
mod batch;
mod chain;
mod connection;
pub mod conntrack;
mod decode;
mod element;
mod element_wire;
mod error;
mod expression;
mod field;
mod list;
mod lookup;
mod monitor;
mod netfilter_socket;
mod operation_wire;
mod protocol;
mod rule;
mod rule_text;
mod ruleset;
mod ruleset_list;
mod set;
mod statement;
mod table;
mod transaction;
mod uapi;
mod user_data;
mod value;
mod verdict;

pub use action::{NatFlag, Reject};
pub use address_ranges::AddressRanges;
pub use chain::{Base, Chain, ChainType, Hook, Policy, priority};
pub use connection::Connection;
pub use element::{Element, ElementValue, Key};
pub use error::{Error, Failure, InvalidObject};
pub use field::{CtDirection, CtState, CtStatus, Field};
pub use list::ListedRule;
pub use lookup::{Numgen, NumgenMode, SetRef};
pub use monitor::{Monitor, Notification};
pub use protocol::{IcmpType, Icmpv6Type, NfProto, Protocol};
pub use rule::Rule;
pub use ruleset::Ruleset;
pub use set::{MapsTo, Set};
pub use table::{Family, Table};
pub use transaction::Transaction;
pub use value::{DataType, Value};
pub use verdict::Verdict;

/// Why the kernel refused something.
pub use rustix::io::Errno;
