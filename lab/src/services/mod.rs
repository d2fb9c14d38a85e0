//! Services: which pods stand behind them, kept as EndpointSlices, and their translation on every node, as kube-proxy
//! does it.
//!
//! ```text
//! Services, Pods ── slices ──► EndpointSlices ─┐
//!                                 Services ────┴── backends ── ruleset ──► one table per node, changed by transactions
//! ```

mod apiserver;
mod backends;
mod controller;
mod difference;
mod environment;
mod proxy;
mod ruleset;
mod slices;

pub(crate) use apiserver::{SERVICE_NAME, publish_api_server};
pub(crate) use controller::keep_slices;
pub(crate) use environment::variables;
pub(crate) use proxy::{ProxiedNode, keep_translating};
