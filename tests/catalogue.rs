//! The catalogue, one test per suite file, on one shared target: the lab, or what `NETPOL_TARGET` names, with the flags of
//! `netpol target up` in `NETPOL_TARGET_FLAGS`: `NETPOL_TARGET=kind:calico NETPOL_TARGET_FLAGS='--ip-family dual' cargo test`.

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
        let flags = std::env::var("NETPOL_TARGET_FLAGS").unwrap_or_default();
        Target::up(&std::iter::once(named.as_str()).chain(flags.split_whitespace()).collect::<Vec<_>>())
    })
}

#[rstest]
fn suite(#[files("suites/*/*.yaml")] file: PathBuf) {
    let area = file.parent().and_then(|area| area.file_name()).and_then(|area| area.to_str()).unwrap();
    let id = format!("{area}/{}", file.file_stem().and_then(|stem| stem.to_str()).unwrap());
    let target = target();
    let mut arguments = vec![id.clone(), "--target".to_owned(), target.flag()];
    arguments.extend(target.flags.iter().cloned());
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", words(&output));
}
