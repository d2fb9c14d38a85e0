//! Probing: streams to the agents, rounds of probes, and the verdict on each from the evidence of both ends.

mod asking;
mod ending;
mod errors;
mod round;
mod seen;
mod session;
mod verdict;

pub use errors::rest;
pub use round::{Member, Observation, Round, sample};
pub use session::{Session, SessionError};
pub use verdict::{Evidence, Verdict};
