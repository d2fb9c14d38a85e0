//! Load, plan, execute, judge, report.

pub mod plan;
mod problem;
pub mod suite;
pub mod topology;

pub use problem::{Problem, Problems};
