//! Load, plan, execute, judge, report.

pub mod plan;
