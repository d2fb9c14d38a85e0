//! Stock kubectl against the API server: the commands of the walkthrough and what people type besides.

use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use netpol_lab::api::resources::{EVENT, NODE};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(30);

/// A directory with the kubeconfig; discovery is cached there, too, and nowhere else.
struct Kubectl(std::path::PathBuf);

impl Kubectl {
    fn new(cluster: &Cluster, test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("netpol-lab-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("kubeconfig"), &cluster.kubeconfig).unwrap();
        Self(directory)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", self.0.join("kubeconfig")).env("KUBECACHEDIR", self.0.join("cache"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
        timeout(SOON, child.wait_with_output()).await.unwrap_or_else(|_| panic!("kubectl {arguments:?} hangs")).unwrap()
    }

    /// Standard output of a command that succeeds.
    async fn ok(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.run(arguments, stdin).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {err}\n{out}");
        out.into_owned()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The words of the first line that has `first` as its first word.
fn row<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.into_iter().find(|words| words.first() == Some(&first)).unwrap_or_else(|| panic!("no row {first} in\n{text}"))
}

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web }
spec:
  podSelector: { matchLabels: { app: server } }
  ingress:
  - from: [{ podSelector: { matchLabels: { app: client } } }]
    ports: [{ port: 80, protocol: TCP }]
";

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn get_prints_tables_and_objects() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "get");
    cluster.run_pod("server");
    let node = json!({ "metadata": { "name": "worker-1" }, "status": {
        "conditions": [{ "type": "Ready", "status": "True" }],
        "addresses": [{ "type": "InternalIP", "address": "172.18.0.2" }],
    } });
    cluster.store.create(NODE, "", node).unwrap();
    let pods = kubectl.ok(&["get", "pods", "-o", "wide"], "").await;
    let words = row(&pods, "server");
    assert_eq!((words[1], words[2], words[3], words[5], words[6]), ("1/1", "Running", "0", "10.244.1.2", "worker-1"));
    assert_eq!(row(&kubectl.ok(&["get", "nodes"], "").await, "worker-1")[1], "Ready");
    assert_eq!(row(&kubectl.ok(&["get", "ns"], "").await, "default")[1], "Active");
    assert!(kubectl.ok(&["get", "pod", "server", "-o", "yaml"], "").await.contains("podIP: 10.244.1.2"));
    assert!(kubectl.ok(&["get", "pods", "-A", "-o", "name", "-l", "app=server"], "").await.contains("pod/server"));
    assert!(kubectl.ok(&["get", "all"], "").await.contains("pod/server"));
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "pods"], "").await.trim(), "yes");
    assert!(kubectl.ok(&["get", "--raw", "/version"], "").await.contains("v1.36.0"));
    assert!(kubectl.ok(&["api-resources"], "").await.contains("netpol"));

    let mut watch = kubectl.spawn(&["get", "pods", "-w"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || timeout(SOON, lines.next_line()).await.expect("a line").unwrap().unwrap();
    assert!(next().await.starts_with("NAME"));
    assert!(next().await.starts_with("server"));
    cluster.run_pod("client");
    assert!(next().await.starts_with("client"));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn apply_label_describe_delete() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "apply");
    cluster.run_pod("server");
    let apply = ["apply", "-f", "-"];
    assert!(kubectl.ok(&apply, POLICY).await.contains("web created"));
    assert!(kubectl.ok(&apply, POLICY).await.contains("web unchanged"));
    let changed = POLICY.replace("port: 80", "port: 81");
    assert!(kubectl.ok(&["diff", "-f", "-"], POLICY).await.is_empty());
    assert!(kubectl.ok(&apply, &changed).await.contains("web configured"));
    assert_eq!(row(&kubectl.ok(&["get", "netpol"], "").await, "web")[1], "app=server");
    let typo = kubectl.run(&apply, &POLICY.replace("ports:", "prots:")).await;
    assert!(!typo.status.success());
    assert!(String::from_utf8_lossy(&typo.stderr).contains("unknown field \"spec.ingress[0].prots\""), "{typo:?}");
    let wrong = kubectl.run(&apply, &POLICY.replace("port: 80", "port: 0")).await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("spec.ingress[0].ports[0].port"), "{wrong:?}");
    let conflict = kubectl.run(&["apply", "--server-side", "--field-manager=other", "-f", "-"], POLICY).await;
    let said = String::from_utf8_lossy(&conflict.stderr);
    assert!(said.contains("conflict with \"kubectl-client-side-apply\"") && said.contains(".spec.ingress"), "{said}");
    let server_side = kubectl.ok(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &changed).await;
    assert!(server_side.contains("serverside-applied"), "{server_side}");

    let described = kubectl.ok(&["describe", "networkpolicy", "web"], "").await;
    assert!(described.contains("81/TCP") && described.contains("app=client"), "{described}");
    let event = json!({
        "metadata": { "name": "server.1" }, "type": "Normal", "reason": "Started", "message": "Started main",
        "involvedObject": { "kind": "Pod", "name": "server", "namespace": "default" },
        "source": { "component": "kubelet" }, "count": 1,
        "firstTimestamp": Timestamp::now().strftime("%FT%TZ").to_string(),
        "lastTimestamp": Timestamp::now().strftime("%FT%TZ").to_string(),
    });
    let uid = cluster.store.get(netpol_lab::api::resources::POD, "default", "server").unwrap().uid().to_owned();
    let mut event = event;
    event["involvedObject"]["uid"] = uid.into();
    cluster.store.create(EVENT, "default", event).unwrap();
    let described = kubectl.ok(&["describe", "pod", "server"], "").await;
    assert!(described.contains("10.244.1.2") && described.contains("Started main"), "{described}");
    assert!(kubectl.ok(&["describe", "ns", "default"], "").await.contains("Active"));
    assert!(kubectl.ok(&["get", "events"], "").await.contains("pod/server"));
    cluster.store.create(NODE, "", json!({ "metadata": { "name": "worker-1" } })).unwrap();
    assert!(kubectl.ok(&["describe", "node", "worker-1"], "").await.contains("worker-1"));

    kubectl.ok(&["label", "pod", "server", "region=us-east"], "").await;
    assert!(kubectl.ok(&["get", "pods", "-l", "region=us-east"], "").await.contains("server"));
    kubectl.ok(&["label", "pod", "server", "region-"], "").await;
    assert!(kubectl.ok(&["get", "pods", "-l", "region", "-o", "name"], "").await.is_empty());
    kubectl.ok(&["create", "namespace", "blue"], "").await;
    kubectl.ok(&["delete", "namespace", "blue"], "").await;
    assert!(kubectl.ok(&["delete", "-f", "-"], POLICY).await.contains("deleted"));
    kubectl.ok(&["delete", "pod", "server", "--now", "--wait=false"], "").await;
    let pod = cluster.store.get(netpol_lab::api::resources::POD, "default", "server").unwrap();
    assert_eq!(pod.value()["metadata"]["deletionGracePeriodSeconds"], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn exec_and_logs() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "exec");
    cluster.run_pod("server");
    let upper = kubectl.ok(&["exec", "-i", "server", "--", "tr", "a-z", "A-Z"], "hello").await;
    assert_eq!(upper, "HELLO");
    let failed = kubectl.run(&["exec", "server", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], "").await;
    assert_eq!(failed.status.code(), Some(3));
    assert_eq!(failed.stdout, b"out\n");
    assert!(failed.stderr.starts_with(b"err\n"), "{failed:?}");
    let large = kubectl.ok(&["exec", "server", "--", "head", "-c", "1000000", "/dev/zero"], "").await;
    assert_eq!(large.len(), 1_000_000);
    let absent = kubectl.run(&["exec", "server", "--", "/no/such/program"], "").await;
    assert!(String::from_utf8_lossy(&absent.stderr).contains("/no/such/program"), "{absent:?}");

    cluster.processes.write_log("server", Timestamp::now(), "one");
    assert_eq!(kubectl.ok(&["logs", "server"], "").await, "one\n");
    let mut follow = kubectl.spawn(&["logs", "-f", "server", "--tail=1"]);
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = async || timeout(SOON, lines.next_line()).await.expect("a line").unwrap().unwrap();
    assert_eq!(next().await, "one");
    cluster.processes.write_log("server", Timestamp::now(), "two");
    assert_eq!(next().await, "two");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn run_patch_wait_create() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "run");
    kubectl.ok(&["run", "client", "--image=netpol", "--labels=app=client"], "").await;
    kubectl.ok(&["wait", "pod/client", "--for=jsonpath={.status.phase}=Pending", "--timeout=5s"], "").await;
    kubectl.ok(&["annotate", "pod", "client", "note=x"], "").await;
    kubectl.ok(&["patch", "pod", "client", "-p", r#"{"metadata":{"labels":{"a":"b"}}}"#], "").await;
    kubectl.ok(&["set", "image", "pod/client", "client=netpol:2"], "").await;
    let image = kubectl.ok(&["get", "pod", "client", "-o", "jsonpath={.spec.containers[*].image}"], "").await;
    assert_eq!(image, "netpol:2");
    kubectl.ok(&["create", "configmap", "c", "--from-literal=k=v"], "").await;
    assert_eq!(kubectl.ok(&["get", "cm", "c", "-o", "jsonpath={.data.k}"], "").await, "v");
    kubectl.ok(&["delete", "pods", "--all"], "").await;
    assert!(kubectl.ok(&["get", "pods", "-o", "name"], "").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn a_list_of_many_pages_is_whole() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "pages");
    netpol_lab::hollow::Hollow { pods: 1234, churn: 0 }.create(&cluster.store).unwrap();
    let pods = kubectl.ok(&["get", "pods", "-A", "--no-headers"], "").await;
    assert_eq!(pods.lines().filter(|line| line.contains("Running")).count(), 1234);
}

#[tokio::test]
#[cfg_attr(not(kubectl), ignore = "kubectl is not installed")]
async fn explain_whoami_token_and_evict() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster, "explain");
    let explained = kubectl.ok(&["explain", "networkpolicy.spec"], "").await;
    for word in ["podSelector", "policyTypes", "<[]NetworkPolicyIngressRule>", "NetworkPolicySpec", "FIELDS"] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    let port = kubectl.ok(&["explain", "netpol.spec.ingress.ports.endPort"], "").await;
    assert!(port.contains("FIELD: endPort <integer>") && port.contains("range of ports"), "{port}");
    let tree = kubectl.ok(&["explain", "pod.spec.containers", "--recursive"], "").await;
    assert!(tree.contains("readinessProbe") && tree.contains("terminationGracePeriodSeconds"), "{tree}");
    assert!(kubectl.ok(&["explain", "clusterroles.rules"], "").await.contains("nonResourceURLs"));
    let unknown = kubectl.run(&["explain", "networkpolicy.spec.colour"], "").await;
    assert!(!unknown.status.success());

    assert!(kubectl.ok(&["auth", "whoami"], "").await.contains("kubernetes-admin"));
    kubectl.ok(&["create", "serviceaccount", "robot"], "").await;
    let token = kubectl.ok(&["create", "token", "robot"], "").await;
    let whoami = kubectl.ok(&["auth", "whoami", "--token", token.trim()], "").await;
    assert!(whoami.contains("system:serviceaccount:default:robot"), "{whoami}");

    cluster.run_pod("a");
    let scaled = kubectl.run(&["scale", "pod/a", "--replicas=2"], "").await;
    assert!(String::from_utf8_lossy(&scaled.stderr).contains("could not find the requested resource"), "{scaled:?}");
}
