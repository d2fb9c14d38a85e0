//! Load, plan, execute, judge, report.

mod claims;
mod cli;
pub mod cluster;
mod decode;
pub mod execute;
mod exit;
mod lanes;
pub mod plan;
pub mod probe;
mod problem;
mod progress;
pub mod report;
mod run;
mod shard;
pub mod suite;
pub mod target;
pub mod topology;
pub mod waits;
pub mod world;

pub use cli::{Output, RunArgs};
pub use exit::Exit;
pub use problem::{Problem, Problems};
pub use run::run;
pub use shard::Shard;
