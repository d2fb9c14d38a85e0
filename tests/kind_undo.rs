//! What `netpol target up kind:…` undoes, and in which order, when it fails or is interrupted. `kind` and `docker` are scripts here that
//! write down what they are asked and do nothing: they prove nothing about booting, which needs a real engine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const NETPOL: &str = env!("CARGO_BIN_EXE_netpol");

/// A home of its own, with scripts in PATH.
struct Scripts {
    root: PathBuf,
}

impl Scripts {
    /// `create` is what `kind create cluster` does; `clusters` is what `kind get clusters` prints.
    fn new(name: &str, create: &str, clusters: &str) -> Self {
        let root = std::env::temp_dir().join(format!("netpol-kind-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let scripts = Scripts { root };
        scripts.write(
            "kind",
            &format!(
                "echo \"$*\" >> '{}'\ncase \"$1 $2\" in\nversion*) echo 'kind v0.27.0 go1.26.8 linux/amd64' ;;\n\
                 'get clusters') printf '{clusters}' ;;\n'create cluster') {create} ;;\n\
                 'export logs') echo Started > \"$3/kubelet.log\" ;;\nesac\n",
                scripts.asked().display()
            ),
        );
        scripts.engine(false);
        scripts
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An engine, in which kind's network is there already, or not yet.
    fn engine(&self, has_network: bool) {
        let code = if has_network { 0 } else { 1 };
        let asked = self.root.join("engine");
        let inspect = format!("'network inspect') exit {code}");
        self.write(
            "docker",
            &format!("echo \"$*\" >> '{}'\ncase \"$1 $2\" in {inspect} ;; esac\necho 2\n", asked.display()),
        );
    }

    /// What the engine was asked about networks, in order.
    fn networks(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.root.join("engine")).unwrap_or_default();
        asked.lines().filter(|line| line.starts_with("network ")).map(String::from).collect()
    }

    fn asked(&self) -> PathBuf {
        self.root.join("asked")
    }

    /// The verbs that kind was asked, in order.
    fn verbs(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.asked()).unwrap_or_default();
        asked.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    fn up(&self, flags: &[&str]) -> Child {
        let path = format!("{}:/usr/bin:/bin", self.root.join("bin").display());
        Command::new(NETPOL)
            .args(["target", "up", "kind:kindnet", "--image", "x"])
            .args(flags)
            .env_clear()
            .env("PATH", path)
            .env("XDG_STATE_HOME", self.root.join("state"))
            .env("XDG_CACHE_HOME", self.root.join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn until_asked(&self, verb: &str) {
        let start = Instant::now();
        while !self.verbs().iter().any(|asked| asked == verb) {
            assert!(start.elapsed() < Duration::from_secs(30), "'{verb}' was never asked: {:?}", self.verbs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

/// To its end; its stdin stays open meanwhile.
fn end(mut child: Child) -> Output {
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const NO_INOTIFY: &str = "echo 'ERROR: failed to create cluster: inotify_init: too many open files' >&2; exit 1";
const NAME_TAKEN: &str = "echo 'ERROR: failed to create cluster: node(s) already exist for a cluster with the name \"netpol-kindnet\"' >&2; exit 1";

#[test]
fn evidence_is_gathered_before_a_failed_cluster_is_deleted() {
    let scripts = Scripts::new("failed", NO_INOTIFY, "");
    let output = end(scripts.up(&[]));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(
        scripts.verbs(),
        ["version", "get clusters", "create cluster", "export logs", "delete cluster"].map(String::from)
    );
    let said = said(&output);
    for expected in [
        "too many open files",
        "cause: the host has no room for further inotify",
        "→ sudo sysctl -w fs.inotify",
        "evidence: ",
    ] {
        assert!(said.contains(expected), "'{expected}' is not in: {said}");
    }
    let evidence = said.lines().find_map(|line| line.strip_prefix("evidence: ")).unwrap();
    assert!(Path::new(evidence).is_dir(), "{evidence} is not there");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_network_that_kind_made_for_the_cluster_goes_with_it_and_another_stays() {
    for (has_network, expected) in
        [(false, &["network inspect kind", "network rm kind"][..]), (true, &["network inspect kind"])]
    {
        let scripts = Scripts::new(&format!("network{has_network}"), "exit 1", "");
        scripts.engine(has_network);
        let output = end(scripts.up(&[]));
        assert_eq!(scripts.networks(), expected, "{}", said(&output));
    }
}

#[test]
fn an_engine_that_refuses_is_quoted() {
    let scripts = Scripts::new("refuses", "exit 1", "");
    scripts.write("docker", "echo 'something that nobody has a remedy for' >&2; exit 1");
    let output = end(scripts.up(&[]));
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("something that nobody has a remedy for"), "{}", said(&output));
}

#[test]
fn a_cluster_that_somebody_else_was_faster_to_make_is_theirs() {
    let scripts = Scripts::new("race", NAME_TAKEN, "");
    let output = end(scripts.up(&[]));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(scripts.verbs(), ["version", "get clusters", "create cluster"].map(String::from));
    assert!(said(&output).contains("kind delete cluster --name netpol-kindnet"), "{}", said(&output));
}

#[test]
fn the_end_of_stdin_ends_what_kind_does_and_then_deletes() {
    // The second line is written only if the first process is not ended.
    let scripts = Scripts::new("eof", "sleep 3; echo 'create late' >> \"$0.late\"", "");
    let mut child = scripts.up(&[]);
    scripts.until_asked("create cluster");
    child.stdin.take().unwrap().flush().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert_eq!(scripts.verbs().last().map(String::as_str), Some("delete cluster"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!scripts.root.join("bin/kind.late").exists(), "kind was not ended before the cluster was deleted");
}

#[test]
fn sigterm_deletes_as_well_and_keep_keeps() {
    for (flags, last) in [(&[][..], "delete cluster"), (&["--keep"][..], "create cluster")] {
        let scripts = Scripts::new(&format!("term{}", flags.len()), "sleep 60", "");
        let child = scripts.up(flags);
        scripts.until_asked("create cluster");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let output = end(child);
        assert_eq!(output.status.code(), Some(130), "{}", said(&output));
        assert_eq!(scripts.verbs().last().map(String::as_str), Some(last), "{}", said(&output));
    }
}

#[test]
fn a_cluster_that_is_not_ours_is_neither_used_nor_deleted() {
    let scripts = Scripts::new("foreign", "exit 1", "other\\nnetpol-kindnet\\n");
    let output = end(scripts.up(&[]));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(scripts.verbs(), ["version", "get clusters", "export kubeconfig"].map(String::from));
    assert!(said(&output).contains("netpol did not make it"), "{}", said(&output));
}

#[test]
fn what_a_killed_netpol_left_half_made_is_replaced() {
    let scripts = Scripts::new("leftover", "exit 1", "");
    let mut killed = scripts.up(&["--keep"]);
    scripts.until_asked("create cluster");
    killed.kill().unwrap();
    killed.wait().unwrap();
    std::fs::remove_file(scripts.asked()).unwrap();
    scripts.write(
        "kind",
        &std::fs::read_to_string(scripts.root.join("bin/kind"))
            .unwrap()
            .replace("printf ''", "printf 'netpol-kindnet'"),
    );
    let output = end(scripts.up(&[]));
    let verbs = scripts.verbs();
    let expected =
        ["version", "get clusters", "export kubeconfig", "delete cluster", "create cluster"].map(String::from);
    assert_eq!(verbs[..5], expected, "{}", said(&output));
}

#[test]
fn nothing_is_made_where_kind_or_the_engine_is_missing() {
    let scripts = Scripts::new("old", "exit 1", "");
    scripts.write("kind", "echo 'kind v0.20.0 go1.20.4 linux/amd64'");
    let output = end(scripts.up(&[]));
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("kind 0.20.0 is too old: at least 0.27 is needed"), "{}", said(&output));

    std::fs::remove_file(scripts.root.join("bin/kind")).unwrap();
    let path = scripts.root.join("bin");
    let mut child = Command::new(NETPOL)
        .args(["target", "up", "kind:kindnet", "--image", "x"])
        .env_clear()
        .env("PATH", path)
        .env("XDG_STATE_HOME", scripts.root.join("state"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(said(&output).contains("→ go install sigs.k8s.io/kind@latest"), "{}", said(&output));
}

#[test]
fn flags_that_do_not_fit_are_bad_input() {
    let scripts = Scripts::new("flags", "exit 1", "");
    let output = end(scripts.up(&["--cni-manifest", "/nonexistent"]));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(scripts.verbs().is_empty());
}
