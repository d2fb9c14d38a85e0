//! What the lab's init and its stages tell the parent: JSON lines on a pipe.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::preflight::Failure;

/// One line from the lab to its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The stage has made this directory for the run.
    Directory(PathBuf),
    /// Something that people may want to see: a step done.
    Progress(String),
    /// The machine cannot do something that the lab needs.
    Failed(Failure),
    /// Something else went wrong, in words.
    Broken(String),
    /// Every node is Ready, and the kubeconfig is written.
    Ready {
        /// Milliseconds since the parent started to boot.
        after_ms: u64,
    },
}

/// Writes reports. Losing one does not matter: the reader is gone then, and the lifeline with it.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<Mutex<std::fs::File>>);

impl Reporter {
    /// A reporter on the write end of a pipe.
    pub(crate) fn new(pipe: OwnedFd) -> Reporter {
        Reporter(Arc::new(Mutex::new(pipe.into())))
    }

    /// Sends one report.
    pub(crate) fn send(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).unwrap_or_default();
        line.push(b'\n');
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
    }

    /// Sends [`Report::Progress`].
    pub(crate) fn progress(&self, text: impl Into<String>) {
        self.send(&Report::Progress(text.into()));
    }
}
