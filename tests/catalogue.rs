//! The catalogue, one test per suite file, on one shared target: the lab, or what `NETPOL_TARGET` names.

mod support;

use std::path::PathBuf;
use std::sync::OnceLock;

use rstest::rstest;
use support::{Target, run, words};

/// Never dropped, as statics are not; the target ends with this process, whose end closes its stdin.
static TARGET: OnceLock<Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let named = std::env::var("NETPOL_TARGET").unwrap_or_else(|_| "lab".to_owned());
        Target::up(&[&named])
    })
}

#[rstest]
fn suite(#[files("suites/*/*.yaml")] file: PathBuf) {
    let area = file.parent().and_then(|area| area.file_name()).and_then(|area| area.to_str()).unwrap();
    let id = format!("{area}/{}", file.file_stem().and_then(|stem| stem.to_str()).unwrap());
    let output = run(&[&id, "--target", &target().flag(), "--profile", "full"]);
    assert!(output.status.success(), "{}", words(&output));
}
