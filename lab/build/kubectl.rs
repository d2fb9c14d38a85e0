//! Looks for a kubectl that tests can drive: 1.30 or newer, which is when it began to speak WebSocket. Without one those tests are
//! visibly ignored.

use std::process::Command;

/// Sets `cfg(kubectl)` where there is one.
pub(crate) fn look() {
    println!("cargo::rustc-check-cfg=cfg(kubectl)");
    println!("cargo::rerun-if-env-changed=PATH");
    if minor_version().is_some_and(|minor| minor >= 30) {
        println!("cargo::rustc-cfg=kubectl");
    }
}

/// The n of kubectl 1.n in PATH.
fn minor_version() -> Option<u32> {
    let output = Command::new("kubectl").args(["version", "--client"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("Client Version: v1."))?;
    version.split('.').next()?.parse().ok()
}
