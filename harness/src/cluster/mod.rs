//! The cluster, as the harness knows it: by its kubeconfig alone.

mod client;
mod nodes;
mod objects;
mod plugin;

pub use client::{ClusterError, connect};
pub use nodes::{ReadyNode, ready_nodes};
pub use objects::{ObjectError, Objects};
pub use plugin::{Plugin, find_plugin};
