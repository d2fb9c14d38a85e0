//! The embedded cluster: a small API server, nodes and pods as network namespaces, an enforcer per node.
//!
//! ```text
//! parent (`up`)  ── fork ──►  stage  ── fork into new namespaces ──►  init (PID 1): API server, kubelets, pods
//!       └───────────── lifeline: a pipe whose end ends the init, and with it everything ─────────────┘
//! ```

mod accounts;
pub mod api;
mod cli;
mod cluster;
mod enforcers;
mod events;
pub mod hollow;
mod init;
mod kubelet;
mod lifeline;
mod namespaces;
mod net;
mod nodes;
mod placement;
mod preflight;
mod processes;
mod program;
mod report;
mod rundir;
mod scheduler;
mod services;
mod stage;
mod up;

pub use cli::{Enforcer, EnforcerError, IpFamily, LabArgs, LabOptions, RunId, RunIdError};
pub use up::{Audience, up};
