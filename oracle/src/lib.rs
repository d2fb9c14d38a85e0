//! The executable specification of NetworkPolicy: pure, no I/O, no async.
//!
//! A [`Cluster`] is compiled once into a [`Specification`], which then judges [`Flow`]s: whether a new connection from one end
//! to the other is allowed, why, and by which numbered rules (N1–N65). Policies that the API server would refuse are refused
//! here too, with the field and the cause (V1–V17).
//!
//! Nothing here is shared with the enforcer: selector, CIDR and port matching are written twice on purpose, because a shared
//! helper would be a shared bug.

mod cite;
mod cluster;
mod compile;
mod invalid;
mod ipblock;
mod judge;
mod policy;
mod port;
mod reason;
mod rule_id;
mod selector;

pub use cluster::{Cluster, End, Family, Flow, Labels, Namespace, Node, Pod, PodName, PodPort, Protocol, Traffic};
pub use invalid::{Cause, InvalidPolicy};
pub use judge::{Judgement, Specification, Unjudgeable};
pub use policy::{Direction, PolicyName};
pub use reason::{AllowedBy, Isolating, Miss, Reason, Side};
pub use rule_id::{RuleId, UnknownRule};
