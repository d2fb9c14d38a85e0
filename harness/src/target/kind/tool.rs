//! Runs `kind` and the container engine: shown as commands to paste, heard in full, ended with us.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::waits;

/// Characters of a line that are shown.
const LONGEST: usize = 400;

/// A command that failed, with all that it said.
#[derive(Debug, Error)]
#[error("'{command}' failed ({how})")]
pub struct CommandFailed {
    /// The command, to paste.
    pub command: String,
    /// Exit status, or why it could not be started.
    pub how: String,
    /// Whether the program is not there at all.
    pub missing: bool,
    /// What it printed on both streams.
    pub said: String,
}

impl CommandFailed {
    /// The last lines of what it said.
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.said, count)
    }
}

/// The last lines of a text, none of them endless: engines print whole documents on one.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LONGEST).collect()).collect();
    lines[lines.len().saturating_sub(count)..].join(
        "
",
    )
}

/// Runs programs, one at a time.
#[derive(Debug, Default)]
pub struct Tools {
    verbose: bool,
    /// The process group that runs now.
    running: Mutex<Option<Pid>>,
}

impl Tools {
    /// `verbose` shows each command and what it says.
    pub fn new(verbose: bool) -> Self {
        Tools { verbose, running: Mutex::default() }
    }

    /// Shows an action that is done without a program, as the command that would do the same.
    pub fn show(&self, command: impl fmt::Display) {
        if self.verbose {
            eprintln!("+ {command}");
        }
    }

    /// Runs a command to its end; what it printed on stdout.
    ///
    /// # Errors
    /// [`CommandFailed`]
    pub async fn run<A: AsRef<OsStr>>(&self, program: &OsStr, arguments: &[A]) -> Result<String, CommandFailed> {
        let command = paste(program, arguments);
        self.show(&command);
        let cannot = |error: std::io::Error| CommandFailed {
            command: command.clone(),
            how: error.to_string(),
            missing: error.kind() == std::io::ErrorKind::NotFound,
            said: String::new(),
        };
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's ^C is ours to handle: a half-made cluster must be deleted, not left.
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        *self.running() = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let (out, err, status) =
            tokio::join!(self.hear(stdout, false), self.hear(stderr, self.verbose), process.wait());
        *self.running() = None;
        let status = status.map_err(cannot)?;
        if status.success() {
            return Ok(out);
        }
        Err(CommandFailed { command, how: status.to_string(), missing: false, said: format!("{out}{err}") })
    }

    async fn hear(&self, stream: Option<impl AsyncRead + Unpin>, echo: bool) -> String {
        let mut said = String::new();
        let Some(stream) = stream else { return said };
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if echo {
                eprintln!("| {line}");
            }
            said.push_str(&line);
            said.push('\n');
        }
        said
    }

    /// Ends what runs, with everything that it started, and waits for that.
    pub async fn stop(&self) {
        let Some(group) = self.running().take() else { return };
        kill_process_group(group, Signal::TERM).ok();
        let start = Instant::now();
        while test_kill_process_group(group).is_ok() {
            if start.elapsed() > waits::TOOL_STOPS.limit {
                kill_process_group(group, Signal::KILL).ok();
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A command as a shell takes it.
pub(super) fn paste<A: AsRef<OsStr>>(program: &OsStr, arguments: &[A]) -> String {
    let words = std::iter::once(program).chain(arguments.iter().map(AsRef::as_ref));
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%#".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Words of a command.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let words = words(["info", "--format", "{{.A}}", "it's"]);
        assert_eq!(paste(OsStr::new("docker"), &words), r"docker info --format '{{.A}}' 'it'\''s'");
    }

    #[tokio::test]
    async fn a_failed_command_is_heard_on_both_streams() {
        let failed =
            Tools::new(false).run(OsStr::new("sh"), &["-c", "echo out; echo err >&2; exit 3"]).await.unwrap_err();
        assert_eq!((failed.said.as_str(), failed.missing), ("out\nerr\n", false));
        let missing = Tools::new(false).run(OsStr::new("no-such-program"), &[""; 0]).await.unwrap_err();
        assert!(missing.missing);
    }

    #[tokio::test]
    async fn stopping_ends_what_a_command_started_itself() {
        let tools = Tools::new(false);
        let mark = format!("{}", 100_000 + std::process::id());
        let script = format!("sleep {mark} & sleep {mark}");
        let arguments = ["-c", &script];
        let run = tools.run(OsStr::new("sh"), &arguments);
        tokio::select! {
            _ = run => panic!("it ended by itself"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        tools.stop().await;
        let left = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            line == format!("sleep\0{mark}\0").as_bytes()
        });
        assert_eq!(left.count(), 0);
    }
}
