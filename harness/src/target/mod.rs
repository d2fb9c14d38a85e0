//! Targets: where a run takes its cluster from. Each is a child, `netpol target up TARGET`, which prints one JSON line when the cluster
//! stands and removes what it made when its stdin closes.

mod child;
mod consent;
mod janitor;
pub mod kind;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use child::{Child, ChildError};
pub use consent::{Consent, consent, is_ours};
pub use janitor::{remove_leftovers, serve_kubeconfig};

use crate::execute::Profile;
use kind::Cni;

/// Where the cluster comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The embedded cluster.
    Lab,
    /// A kind cluster with a CNI, made for the run.
    Kind(Cni),
    /// A cluster that is there.
    Kubeconfig {
        /// The kubeconfig.
        file: PathBuf,
        /// A context in it; none: its current one.
        context: Option<String>,
    },
}

/// A target that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    /// Nothing we know.
    #[error(
        "unknown target '{0}': use lab, kind:calico, kind:enforcer, kind:kindnet, kind:none, kind:FILE, or kubeconfig:FILE with an optional #CONTEXT"
    )]
    Unknown(String),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "lab" {
            return Ok(Target::Lab);
        }
        if let Some(cni) = text.strip_prefix("kind:").filter(|cni| !cni.is_empty()) {
            return Ok(Target::Kind(Cni::parse(cni)));
        }
        let place = text.strip_prefix("kubeconfig:").filter(|place| !place.is_empty());
        let place = place.ok_or_else(|| InvalidTarget::Unknown(text.to_owned()))?;
        Ok(match place.split_once('#') {
            Some((file, context)) => Target::Kubeconfig { file: file.into(), context: Some(context.to_owned()) },
            None => Target::Kubeconfig { file: place.into(), context: None },
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Lab => f.write_str("lab"),
            Target::Kind(cni) => write!(f, "kind:{cni}"),
            Target::Kubeconfig { file, context: None } => write!(f, "kubeconfig:{}", file.display()),
            Target::Kubeconfig { file, context: Some(context) } => write!(f, "kubeconfig:{}#{context}", file.display()),
        }
    }
}

/// The line that `netpol target up` prints when the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Up {
    /// The file that leads to it.
    pub kubeconfig: PathBuf,
    /// The context in it.
    pub context: Option<String>,
    /// Whether the cluster was made for us and goes when we go.
    pub owned: bool,
    /// The image of the agent's pods that its nodes have, where the target brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What is asserted there unless `--profile` says otherwise, where the target knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for text in ["lab", "kind:calico", "kind:my/cni.yaml", "kubeconfig:/tmp/k", "kubeconfig:k.yaml#prod"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("kind:none".parse(), Ok(Target::Kind(Cni::Embedded("none"))));
        assert_eq!("kind:nonesuch".parse(), Ok(Target::Kind(Cni::File("nonesuch".into()))));
        for text in ["", "kind:", "kubeconfig:", "minikube"] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget::Unknown(text.into())));
        }
    }
}
