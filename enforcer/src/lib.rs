//! The per-node enforcer: watch, world, compile, diff, apply.
//!
//! [`watch`] tells what the API server knows, [`world`] keeps what matters of it, [`compile`] turns that into the ruleset of
//! one node, [`diff`] finds the way there from the ruleset before, and [`apply`] takes it in one atomic transaction.
//! [`run`] does all of it; [`run_with`] lets another program stand between the stages.

mod api_server;
pub mod apply;
mod cli;
pub mod cni;
pub mod compile;
mod connections;
mod damage;
pub mod diff;
pub mod dry_run;
mod enforcer;
pub mod events;
pub mod health;
pub mod inspect;
pub mod metrics;
mod run;
pub mod selftest;
mod stages;
mod staleness;
pub mod status;
mod told;
mod unseen;
mod until_stopped;
pub mod uplinks;
pub mod watch;
pub mod world;

pub use api_server::ApiServerArgs;
pub use cli::{EnforcerArgs, LogFormat};
pub use run::{run, run_with};
pub use stages::{PolicyReader, Product, Stages};
