//! What the API server asks of the one who runs the pods: processes in containers, and their logs.

use std::any::Any;
use std::pin::Pin;

use axum::body::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Runs commands in containers and keeps their logs. The API server has checked beforehand that the pod exists, has
/// the container and is not finished.
pub trait Runtime: Send + Sync + 'static {
    /// Starts a process in a running container (`pods/exec`).
    fn exec(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecSession, RuntimeError>>;

    /// The log of a container (`pods/log`). The API server itself cuts (`tailLines`, `sinceSeconds`) and formats it.
    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<Log, RuntimeError>>;
}

/// A process to start in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; the pod's first if the client named none.
    pub container: String,
    /// Program and arguments, never empty.
    pub command: Vec<String>,
    /// Run on a terminal of its own; its output is then all on `stdout`.
    pub tty: bool,
    /// Whether the client will send standard input.
    pub stdin: bool,
    /// Whether the client wants standard output.
    pub stdout: bool,
    /// Whether the client wants standard error (never together with `tty`).
    pub stderr: bool,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process that runs on behalf of a client. Dropping the session kills the process.
pub struct ExecSession {
    /// Standard input; dropping it closes it. `None` if the request wanted none.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Standard output, or the terminal's output.
    pub stdout: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Standard error.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// New sizes of the terminal go here.
    pub resize: Option<mpsc::UnboundedSender<TerminalSize>>,
    /// Becomes the exit code: 0–255, 128 + n for a process that signal n ended.
    pub exit: BoxFuture<'static, Result<i32, RuntimeError>>,
    /// Kills the process when dropped (a `tokio::process::Child` with `kill_on_drop`, a pid guard, …).
    pub kill_on_drop: Box<dyn Any + Send>,
}

/// A log to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; the pod's first if the client named none.
    pub container: String,
    /// Whether lines that are still to come are wanted.
    pub follow: bool,
    /// Read the log of the run before the last restart. A runtime that keeps none answers [`RuntimeError::NoLog`].
    pub previous: bool,
}

/// A container's log.
pub struct Log {
    /// What the container has written so far, oldest first.
    pub stored: Vec<LogLine>,
    /// Lines from then on, until the container ends for good. Empty stream if `follow` was not asked for.
    pub live: BoxStream<'static, LogLine>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the runtime read it.
    pub time: jiff::Timestamp,
    /// The line with its newline; the last line of a container that died may lack it.
    pub text: Bytes,
}

/// Why a runtime could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The container is not running: not started yet, or finished.
    #[error("container {container} of pod {namespace}/{pod} is not running: {detail}")]
    NotRunning {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Its state, in words.
        detail: String,
    },
    /// The process could not be started, for example because there is no such program.
    #[error("cannot start {command:?}: {detail}")]
    Start {
        /// Program and arguments.
        command: Vec<String>,
        /// Cause, in words.
        detail: String,
    },
    /// There is no such log.
    #[error("no log: {0}")]
    NoLog(String),
    /// Anything else that failed: what was tried, and why it failed.
    #[error("{0}")]
    Failed(String),
}
