//! The log of `netpol enforcer`, for people and for machines.

use std::process::{Command, Output};

use serde_json::Value;

/// It says that it has started, and then that there is no such kubeconfig.
fn start(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netpol"))
        .args(["enforcer", "--node", "node-1", "--health-port", "0", "--kubeconfig", "/nonexistent/kubeconfig"])
        .args(arguments)
        .env_remove("NETPOL_LOG")
        .output()
        .expect("it runs")
}

#[test]
fn is_lines_or_json_objects_on_stderr() {
    let output = start(&["--log-format", "json"]);
    let text = String::from_utf8(output.stderr).expect("text");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("a JSON object");
    assert_eq!((&first["level"], &first["message"]), (&"INFO".into(), &"enforcer started".into()), "{text}");
    assert_eq!(first["node"], "node-1", "fields are fields: {text}");
    assert!(first["timestamp"].is_string() && output.stdout.is_empty());
    assert!(text.contains("/nonexistent/kubeconfig"), "{text}");

    let text = String::from_utf8(start(&[]).stderr).expect("text");
    assert!(text.lines().next().expect("a line").contains("enforcer started node=node-1"), "{text}");
    assert_eq!(start(&["--log-format", "xml"]).status.code(), Some(2));
}
