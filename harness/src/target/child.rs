//! The child that keeps a target up.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{self, ChildStdin, Command};

use super::Up;
use crate::exit::Exit;

/// A target that is up for as long as this lives.
pub struct Child {
    process: process::Child,
    lifeline: Option<ChildStdin>,
    command: String,
}

/// Why a target did not come up.
#[derive(Debug, Error)]
pub enum ChildError {
    /// Our own executable could not be started.
    #[error("cannot start '{command}': {cause}")]
    Start {
        /// The command.
        command: String,
        /// The operating system's words.
        cause: io::Error,
    },
    /// It ended before the cluster stood; its own words are on stderr.
    #[error("'{command}' ended before the cluster stood ({status})")]
    Ended {
        /// The command.
        command: String,
        /// How.
        status: ExitStatus,
    },
    /// It ended while the run was under way.
    #[error("'{command}' ended while the run was under way ({status})")]
    Gone {
        /// The command.
        command: String,
        /// How.
        status: ExitStatus,
    },
    /// It said something else than the line of the contract.
    #[error("'{command}' printed '{line}' instead of one line of JSON")]
    Line {
        /// The command.
        command: String,
        /// What it printed.
        line: String,
    },
}

impl ChildError {
    /// A child that refused its input has said so by its exit code; everything else is the environment's failure.
    pub fn exit(&self) -> Exit {
        match self {
            ChildError::Ended { status, .. } if status.code() == Some(i32::from(Exit::BadInput.code())) => {
                Exit::BadInput
            }
            _ => Exit::Environment,
        }
    }
}

impl Child {
    /// Starts `netpol target up` with these arguments.
    ///
    /// # Errors
    /// [`ChildError::Start`]
    pub fn start(arguments: &[OsString]) -> Result<Self, ChildError> {
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        let command = format!("netpol target up {}", words.join(" "));
        let cannot = |cause| ChildError::Start { command: command.clone(), cause };
        let executable = std::env::current_exe().map_err(cannot)?;
        let mut process = Command::new(executable)
            .args(["target", "up"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's ^C goes to the whole process group; the child ends by its stdin, when we have finished with it.
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let lifeline = process.stdin.take();
        Ok(Child { process, lifeline, command })
    }

    /// Waits until the cluster stands. To be called once.
    ///
    /// # Errors
    /// [`ChildError`]
    pub async fn up(&mut self) -> Result<Up, ChildError> {
        let command = self.command.clone();
        let cannot = |cause| ChildError::Start { command: command.clone(), cause };
        let mut line = String::new();
        if let Some(stdout) = self.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await.map_err(cannot)?;
        }
        if line.is_empty() {
            let status = self.process.wait().await.map_err(cannot)?;
            return Err(ChildError::Ended { command, status });
        }
        serde_json::from_str(&line).map_err(|_| ChildError::Line { command, line: line.trim().to_owned() })
    }

    /// Returns when it has ended before it was asked to: what it kept up is gone, and nobody removes what the run leaves.
    pub async fn gone(&mut self) -> ChildError {
        let command = self.command.clone();
        match self.process.wait().await {
            Ok(status) => ChildError::Gone { command, status },
            Err(cause) => ChildError::Start { command, cause },
        }
    }

    /// Lets it remove what it made, and waits for that.
    ///
    /// # Errors
    /// When the child cannot be waited for.
    pub async fn end(mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline.take());
        self.process.wait().await
    }
}
