//! `pods/exec` and `pods/log` through kube-rs.

use std::time::Duration;

use futures::{AsyncBufReadExt, SinkExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, LogParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(10);

async fn cluster() -> (Cluster, Api<Pod>) {
    let cluster = Cluster::start().await;
    cluster.run_pod("a");
    let pods = Api::namespaced(cluster.client.clone(), "default");
    (cluster, pods)
}

#[tokio::test]
async fn output_errors_and_the_exit_code() {
    let (_cluster, pods) = cluster().await;
    let command = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let mut process = pods.exec("a", command, &AttachParams::default()).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!((causes[0].reason.as_deref(), causes[0].message.as_deref()), (Some("ExitCode"), Some("7")));
}

#[tokio::test]
async fn a_megabyte_goes_in_and_comes_out() {
    let (_cluster, pods) = cluster().await;
    let parameters = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.exec("a", ["cat"], &parameters).await.unwrap();
    let (mut stdin, mut stdout) = (process.stdin().unwrap(), process.stdout().unwrap());
    let sent: Vec<u8> = (0..1u32 << 20).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        stdin.write_all(&copy).await.unwrap();
        // Dropping it ends cat, by v5's half-close.
        stdin.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    timeout(SOON, stdout.read_to_end(&mut received)).await.expect("cat ends").unwrap();
    assert!(received == sent, "{} bytes instead of {}", received.len(), sent.len());
    writer.await.unwrap();
    assert_eq!(process.take_status().unwrap().await.unwrap().status.as_deref(), Some("Success"));
}

#[tokio::test]
async fn a_slow_client_loses_nothing() {
    let (_cluster, pods) = cluster().await;
    let parameters = AttachParams::default().stderr(false);
    let mut process = pods.exec("a", ["head", "-c", "100000", "/dev/zero"], &parameters).await.unwrap();
    // Longer than the server waits for silent output after the process has ended.
    sleep(Duration::from_millis(1500)).await;
    let mut received = Vec::new();
    timeout(SOON, process.stdout().unwrap().read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(received.len(), 100_000);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_output_open_does_not_keep_the_client() {
    let (_cluster, pods) = cluster().await;
    let mut process = pods.exec("a", ["sh", "-c", "sleep 8 & echo done"], &AttachParams::default()).await.unwrap();
    let status = process.take_status().unwrap();
    let mut out = String::new();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "done\n");
    let status = timeout(Duration::from_secs(5), status).await.expect("the answer does not wait for sleep").unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));
}

#[tokio::test]
async fn the_process_dies_with_its_client() {
    let (_cluster, pods) = cluster().await;
    let parameters = AttachParams::default().stderr(false);
    let mut process = pods.exec("a", ["sh", "-c", "echo $$; exec sleep 300"], &parameters).await.unwrap();
    let mut pid = [0; 16];
    let length = process.stdout().unwrap().read(&mut pid).await.unwrap();
    let pid = String::from_utf8(pid[..length].to_vec()).unwrap();
    let entry = format!("/proc/{}", pid.trim());
    assert!(std::fs::exists(&entry).unwrap());
    drop(process);
    let gone = async {
        // A killed child may be a zombie for a moment: its command line is empty then.
        while std::fs::read(format!("{entry}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("the process ends");
}

#[tokio::test]
async fn a_terminal_is_told_its_size() {
    let (cluster, pods) = cluster().await;
    let mut process = pods.exec("a", ["cat"], &AttachParams::interactive_tty()).await.unwrap();
    let mut sizes = process.terminal_size().unwrap();
    sizes.send(kube::api::TerminalSize { width: 100, height: 40 }).await.unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"x").await.unwrap();
    let mut echoed = [0];
    process.stdout().unwrap().read_exact(&mut echoed).await.unwrap();
    let mut received = cluster.processes.sizes.lock().unwrap().take().unwrap();
    let size = timeout(SOON, received.recv()).await.unwrap().unwrap();
    assert_eq!((size.width, size.height), (100, 40));
}

#[tokio::test]
async fn what_cannot_be_run_is_said() {
    let (_cluster, pods) = cluster().await;
    let mut process = pods.exec("a", ["/no/such/program"], &AttachParams::default()).await.unwrap();
    let status = timeout(SOON, process.take_status().unwrap()).await.unwrap().unwrap();
    assert!(status.message.unwrap().contains("/no/such/program"));
    let missing = pods.exec("b", ["true"], &AttachParams::default()).await;
    assert!(missing.is_err());
    let container = AttachParams::default().container("other");
    assert!(pods.exec("a", ["true"], &container).await.is_err());
}

#[tokio::test]
async fn logs_are_cut_stamped_and_followed() {
    let (cluster, pods) = cluster().await;
    let now = Timestamp::now();
    cluster.processes.write_log("a", now - SignedDuration::from_secs(60), "one");
    cluster.processes.write_log("a", now, "two");
    assert_eq!(pods.logs("a", &LogParams::default()).await.unwrap(), "one\ntwo\n");
    let tail = LogParams { tail_lines: Some(1), timestamps: true, ..Default::default() };
    let tail = pods.logs("a", &tail).await.unwrap();
    let (stamp, text) = tail.split_once(' ').unwrap();
    assert_eq!((stamp.parse::<Timestamp>().unwrap(), text), (now, "two\n"));
    let recent = LogParams { since_seconds: Some(30), ..Default::default() };
    assert_eq!(pods.logs("a", &recent).await.unwrap(), "two\n");
    let previous = pods.logs("a", &LogParams { previous: true, ..Default::default() }).await.unwrap_err();
    assert!(previous.to_string().contains("previous"), "{previous}");

    let follow = LogParams { follow: true, tail_lines: Some(0), ..Default::default() };
    let mut lines = pods.log_stream("a", &follow).await.unwrap().lines();
    cluster.processes.write_log("a", now, "three");
    assert_eq!(timeout(SOON, lines.next()).await.unwrap().unwrap().unwrap(), "three");
}
