//! Reports: for people on a terminal, and for machines.

pub mod matrix;
mod model;
pub mod terminal;

pub use model::*;
