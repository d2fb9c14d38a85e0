//! Probing: streams to the agents, rounds of probes, and the verdict on each from the evidence of both ends.

mod asking;
mod ending;
mod errors;
mod round;
mod seen;
mod session;
mod session_error;
mod verdict;
mod watch;

pub use errors::rest;
pub use round::{Member, Observation, Round, sample};
pub use session::Session;
pub use session_error::SessionError;
pub use verdict::{Evidence, Verdict};
pub use watch::watch;
