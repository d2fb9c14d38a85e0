//! Load, plan, execute, judge, report.

pub mod cluster;
pub mod execute;
pub mod plan;
pub mod probe;
mod problem;
pub mod report;
pub mod suite;
pub mod target;
pub mod topology;
pub mod waits;
pub mod world;

pub use problem::{Problem, Problems};
