//! Suites and topologies, checked and turned into cases.

mod cells;
mod describe;
mod endpoint;
mod model;
mod names;
mod need;
pub(crate) mod place;
pub(crate) mod placeholder;
mod rehearsal;
mod route;
mod select;
mod specification;
mod symbolic;
mod traffic;

pub use cells::cells;
pub(crate) use cells::takes;
pub use describe::describe;
pub use endpoint::Endpoint;
pub use model::*;
pub(crate) use need::families_named;
pub use need::{Need, OUTSIDE};
pub use rehearsal::{Disagreement, Rehearsal};
pub use route::Route;
pub use select::{Selection, plan};
pub(crate) use symbolic::symbolic;
pub use traffic::{Family, Traffic, Transport};
