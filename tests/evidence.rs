//! A case that fails leaves a folder with what one wants to know then, gathered before anything is cleaned away.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{NETPOL, run, words};

/// What stands under `tests/suites/fails` asks for a cut that does not come.
const SUITES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/fails");

#[test]
fn a_failed_case_leaves_its_matrix_policies_pods_logs_and_the_kernels_of_its_nodes() {
    let report = tempfile::tempdir().unwrap();
    let output = run(&["--suites", SUITES, "--hold", "0s", "--report", report.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let folder = report.path().join("cases/connections_cut");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));

    assert!(read("matrix.txt").contains("connection west"), "{}", read("matrix.txt"));
    assert!(read("policies.yaml").contains("name: closed"));
    let pods: BTreeMap<String, Value> = serde_yaml::from_str(&read("pods.yaml")).unwrap();
    let server = &pods["network-policy/server"];
    let (node, address) = (server["node"].as_str().unwrap(), server["addresses"][0].as_str().unwrap());

    // The rules that isolate the server, and the connection that was not cut, from the kernel of its node.
    let kernel = read(&format!("{node}.nft"));
    let dispatched = kernel.lines().any(|line| !line.starts_with('#') && line.contains(address));
    assert!(dispatched, "no rule or element names {address}:\n{kernel}");
    let held = kernel.lines().any(|line| line.starts_with("# tcp") && line.contains(&format!("> {address}:8888")));
    assert!(held, "no connection to {address}:8888:\n{kernel}");
    let logs: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(logs.iter().any(|name| name.starts_with("netpol-enforcer") && name.ends_with(".log")), "{logs:?}");
    assert!(!folder.join("missing.txt").exists(), "{}", read("missing.txt"));

    again(&folder);
}

/// The command that the folder ends with carries out just this case, and fails likewise.
fn again(folder: &Path) {
    let path = format!("{}:{}", Path::new(NETPOL).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh").arg(folder.join("again.sh")).env("PATH", path).output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 cases: 0 passed, 1 failed") || said.contains("1 case: 0 passed, 1 failed"), "{said}");
}
