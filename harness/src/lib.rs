//! Load, plan, execute, judge, report.

pub mod cluster;
pub mod plan;
pub mod probe;
mod problem;
pub mod suite;
pub mod topology;
pub mod waits;

pub use problem::{Problem, Problems};
