//! The lesson as a person walks through it: the lab, and stock kubectl for everything else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use support::Target;

const NAMESPACE: &str = "network-policy";
const TOPOLOGY: &str = include_str!("../fixtures/topologies/walkthrough.yaml");
const ALLOW_US_EAST: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-us-east, namespace: network-policy}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{podSelector: {matchLabels: {region: us-east}}}]
      ports: [{port: 8888}]
  egress: [{}]
"#;
const BLOCK_US_EAST: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: block-us-east-egress, namespace: network-policy}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Egress]
  egress:
    - to: [{ipBlock: {cidr: 0.0.0.0/0, except: ["EAST/32"]}}]
"#;

/// Stock kubectl on one cluster.
struct Kubectl<'a>(&'a Target);

impl Kubectl<'_> {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.0.kubeconfig).args(arguments.split(' '));
        command
    }

    fn try_run(&self, arguments: &str) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn run(&self, arguments: &str) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "kubectl {arguments}: {}", support::words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn apply(&self, manifests: &str) {
        let mut child = self
            .command("apply -f -")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl apply: {}\n{manifests}", support::words(&output));
    }

    fn ip(&self, pod: &str) -> String {
        self.run(&format!("wait -n {NAMESPACE} --for=condition=Ready --timeout=20s pod/{pod}"));
        self.run(&format!("get pod -n {NAMESPACE} {pod} -o jsonpath={{.status.podIP}}"))
    }

    /// Whether the server's ping is answered, once that is so or at the end of five seconds.
    fn ping_answered(&self, address: &str, wanted: bool) -> bool {
        let start = Instant::now();
        loop {
            let output = self.try_run(&format!("exec -n {NAMESPACE} server -- ping -c 1 -W 1 {address}"));
            let answered = match output.status.code() {
                Some(0) => true,
                Some(1) => false,
                _ => panic!("ping: {}", support::words(&output)),
            };
            if answered == wanted || start.elapsed() > Duration::from_secs(5) {
                return answered;
            }
        }
    }

    /// `kubectl logs -f`, from now on.
    fn follow(&self, pod: &str) -> Followed {
        let mut child =
            self.command(&format!("logs -f --tail=0 -n {NAMESPACE} {pod}")).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (lines, followed) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        Followed { child, lines: followed }
    }
}

struct Followed {
    child: Child,
    lines: Receiver<String>,
}

impl Followed {
    fn grows(&self) -> bool {
        while self.lines.try_recv().is_ok() {}
        self.lines.recv_timeout(Duration::from_secs(5)).is_ok()
    }

    /// Whether a second goes by without a line, within five.
    fn stops(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if self.lines.recv_timeout(Duration::from_secs(1)).is_err() {
                return true;
            }
        }
        false
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
#[cfg_attr(not(kubectl), ignore = "kubectl 1.30 or newer is not installed")]
fn the_walkthrough_by_kubectl() {
    let lab = Target::up(&["lab"]);
    let kubectl = Kubectl(&lab);
    assert!(kubectl.run("get pods -n kube-system").contains("netpol-enforcer"), "the plugin has a name");

    let (server, clients) = TOPOLOGY.split_at(TOPOLOGY.match_indices("---\n").nth(1).unwrap().0);
    kubectl.apply(server);
    kubectl.apply(&clients.replace("${host:server}", &kubectl.ip("server")));
    let (east, west) = (kubectl.ip("client-us-east"), kubectl.ip("client-us-west"));
    let (east_log, west_log) = (kubectl.follow("client-us-east"), kubectl.follow("client-us-west"));
    assert!(east_log.grows() && west_log.grows(), "stage 0: both logs grow");

    kubectl.apply(ALLOW_US_EAST);
    assert!(west_log.stops(), "stage 1: us-west's log stops");
    assert!(east_log.grows(), "stage 1: us-east's log grows");
    assert!(kubectl.ping_answered(&east, true), "stage 1: egress is open");
    let described = kubectl.run(&format!("describe networkpolicy -n {NAMESPACE} allow-us-east"));
    for word in [
        "PodSelector:     app=server",
        "To Port: 8888/TCP",
        "PodSelector: region=us-east",
        "Policy Types: Ingress, Egress",
    ] {
        assert!(described.contains(word), "'{word}' is missing in: {described}");
    }

    kubectl.apply(&BLOCK_US_EAST.replace("EAST", &east));
    assert!(kubectl.ping_answered(&east, true), "stage 2: the open rule wins over the except");

    kubectl.run(&format!("delete networkpolicy -n {NAMESPACE} allow-us-east"));
    assert!(!kubectl.ping_answered(&east, false), "stage 3: a ping is new traffic, and excepted");
    assert!(kubectl.ping_answered(&west, true), "stage 3: us-west is not excepted");
    assert!(east_log.grows() && west_log.grows(), "stage 3: responses travel on the clients' own connections");

    kubectl.run(&format!("delete networkpolicy -n {NAMESPACE} --all"));
    assert!(kubectl.ping_answered(&east, true), "stage 4: open again");
}
