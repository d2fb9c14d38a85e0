//! `netpol target up kind:…`: boots a kind cluster with a CNI, keeps it while its stdin is open, and deletes what it made.

pub mod archive;
mod boot;
pub mod cni_entry;
pub mod config;
mod diagnose;
pub mod download;
pub mod engine;
mod failure;
mod flags;
pub mod manifest;
mod place;
mod ready;
pub mod remedy;
mod serve;
mod shape;
pub mod steps;
mod tool;

use std::fmt;
use std::path::PathBuf;

pub use flags::{IpFamily, KindArgs};
pub use serve::serve_kind;

/// Which CNI a kind cluster gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cni {
    /// An entry in this executable, by its name.
    Embedded(&'static str),
    /// An entry of one's own.
    File(PathBuf),
}

impl Cni {
    /// What stands after `kind:`: the name of an entry, or else a file.
    pub fn parse(text: &str) -> Self {
        match cni_entry::names().find(|name| *name == text) {
            Some(name) => Cni::Embedded(name),
            None => Cni::File(text.into()),
        }
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cni::Embedded(name) => f.write_str(name),
            Cni::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What `netpol target up kind:…` was asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// The CNI.
    pub cni: Cni,
    /// The cluster.
    pub kind: KindArgs,
    /// The run whose namespaces go at the end, where the cluster stays.
    pub run: Option<String>,
    /// The image of the agent's pods, if it was named.
    pub image: Option<String>,
    /// Whether everything stays.
    pub keep: bool,
}

/// Whether a cluster was booted by us: it carries our record.
pub async fn is_ours(client: &kube::Client) -> bool {
    shape::read(client).await.is_ok_and(|shape| shape.is_some())
}
