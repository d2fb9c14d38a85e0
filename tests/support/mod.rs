//! A target that is up for as long as its test: `netpol target up`, as the harness starts it.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// The executable under test.
pub const NETPOL: &str = env!("CARGO_BIN_EXE_netpol");

/// A target; it goes when this is dropped, or when the test's process ends.
pub struct Target {
    process: Child,
    /// Leads to it.
    pub kubeconfig: PathBuf,
    /// Flags of `netpol run` that fit it: the image that its nodes have, and what is asserted there.
    pub flags: Vec<String>,
}

impl Target {
    /// Brings it up and waits until it stands.
    pub fn up(arguments: &[&str]) -> Target {
        let mut process = Command::new(NETPOL)
            .args(["target", "up"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("netpol can be started");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("stdout is a pipe")).read_line(&mut line).expect("one line");
        let up: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("'netpol target up {}' printed '{line}'", arguments.join(" ")));
        let kubeconfig = up["kubeconfig"].as_str().expect("the line names a kubeconfig").into();
        let flag = |key: &str| up[key].as_str().map(|value| [format!("--{key}"), value.to_owned()]);
        let flags = [flag("image"), Some(flag("profile").unwrap_or(["--profile".into(), "full".into()]))];
        Target { process, kubeconfig, flags: flags.into_iter().flatten().flatten().collect() }
    }

    /// The argument of `--target` that leads to it.
    pub fn flag(&self) -> String {
        format!("kubeconfig:{}", self.kubeconfig.display())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().ok();
    }
}

/// Runs `netpol run` to its end. The catalogue's target is not everybody's, and nobody is asked about clusters that a test made.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(NETPOL)
        .args(["run", "--yes"])
        .args(arguments)
        .env_remove("NETPOL_TARGET")
        .stdin(Stdio::null())
        .output()
        .expect("netpol can be started")
}

/// What a command printed, for a failure's message.
pub fn words(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {:?}\n{out}\n{err}", output.status.code())
}
