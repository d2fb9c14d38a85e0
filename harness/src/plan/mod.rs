//! Suites and topologies, checked and turned into cases.

mod cells;
mod describe;
mod model;
mod names;
pub(crate) mod place;
pub(crate) mod placeholder;
mod rehearsal;
mod select;
mod specification;
mod symbolic;

pub use cells::cells;
pub use describe::describe;
pub use model::*;
pub use rehearsal::{Disagreement, Rehearsal};
pub use select::plan;
pub(crate) use symbolic::symbolic;
