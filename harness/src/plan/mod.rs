//! Suites and topologies, checked and turned into cases.

mod model;

pub use model::*;
