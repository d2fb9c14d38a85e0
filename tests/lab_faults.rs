//! Bad days of the lab's machine: no space left, another lab beside it.

mod lab_runs;

use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::{await_condition, conditions};
use lab_runs::{Lab, NETPOL, Traces, directory_of, eventually, new_run, processes_of};
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(20);

/// The run's directory is on a file system without a free block, in a mount namespace that goes with the command.
#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let run = new_run();
    let script = "mount -t tmpfs -o size=64k full \"$2\" && { dd if=/dev/zero of=\"$2/filler\" bs=4k 2>/dev/null; \
                  XDG_RUNTIME_DIR=\"$2\" \"$0\" target up lab --enforcer none --run \"$1\"; code=$?; ls \"$2\"; exit $code; }";
    let place = std::env::temp_dir().join(format!("netpol-full-{run}"));
    std::fs::create_dir(&place).expect("a directory");
    let mut up = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, NETPOL, &run])
        .arg(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare can be started");
    // Its end would end the lab.
    let _stdin = up.stdin.take();
    let output = up.wait_with_output().expect("ours");
    std::fs::remove_dir(&place).expect("it is empty, as seen from here");
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("kubeconfig") && said.contains("No space left on device"), "{said}");
    assert_eq!(out, "filler\n", "nothing of the run is left on the full disk");
    assert_eq!(eventually(WITHIN, || processes_of(&run).into_iter().collect::<Vec<_>>()), Vec::<i32>::new());
    assert_eq!(directory_of(&run), None);
}

async fn a_pod_runs(lab: &Lab, name: &str) -> String {
    let pods: Api<Pod> = Api::default_namespaced(lab.client().await);
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "netpol", "command": ["sleep", "1000"]}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("created");
    let running = await_condition(pods, name, conditions::is_pod_running());
    let pod = tokio::time::timeout(WITHIN, running).await.expect("in time").expect("watched").expect("it is there");
    pod.status.and_then(|status| status.pod_ip).expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_labs_do_not_know_of_each_other() {
    let interfaces = Traces::interfaces();
    let (mut first, mut second) = (Lab::up(&[]), Lab::up(&[]));
    assert_ne!(first.kubeconfig(), second.kubeconfig());
    let addresses = [a_pod_runs(&first, "same-name").await, a_pod_runs(&second, "same-name").await];
    assert_eq!(addresses[0], addresses[1], "each has a network of its own");
    let traces = Traces::of(&first, interfaces.clone());
    let (status, _) = first.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(traces.left(WITHIN), Vec::<String>::new());
    a_pod_runs(&second, "afterwards").await;
    let traces = Traces::of(&second, interfaces);
    second.end();
    assert_eq!(traces.left(WITHIN), Vec::<String>::new());
}
