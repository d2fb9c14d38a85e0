//! The lab without privilege: as an ordinary user in a user namespace. As root it runs as another user, from a copy of
//! the executable that this user may read.

mod lab_runs;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use lab_runs::{Lab, NETPOL, Traces, new_run};

/// A copy of the executable that everybody may run, in a directory of its own; removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn make(run: &str) -> Copy {
        let directory = std::env::temp_dir().join(format!("netpol-copy-{run}"));
        std::fs::create_dir(&directory).expect("a directory");
        let copy = Copy(directory);
        std::fs::set_permissions(&copy.0, PermissionsExt::from_mode(0o755)).expect("permissions");
        std::fs::copy(NETPOL, copy.0.join("netpol")).expect("a copy");
        std::fs::set_permissions(copy.0.join("netpol"), PermissionsExt::from_mode(0o755)).expect("permissions");
        copy
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn an_ordinary_user_boots_a_lab_and_runs_pods() {
    let interfaces = Traces::interfaces();
    let run = new_run();
    let copy = Copy::make(&run);
    let netpol = copy.0.join("netpol");
    let arguments = ["target", "up", "lab", "--enforcer", "none", "--run", &run];
    let command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"]);
        command.arg(&netpol).args(arguments).env("XDG_RUNTIME_DIR", "/nonexistent");
        command
    } else {
        let mut command = Command::new(&netpol);
        command.args(arguments);
        command
    };
    let mut lab = Lab::start(command, run);
    let traces = Traces::of(&lab, interfaces);
    let client = lab.client().await;
    let workers = ListParams::default().labels("!netpol.dev/outside");
    let nodes = Api::<Node>::all(client.clone()).list(&workers).await.expect("nodes");
    assert_eq!(nodes.items.len(), 2);
    let pods = Api::<Pod>::default_namespaced(client);
    let pod = serde_json::json!({
        "metadata": {"name": "sleeper"},
        "spec": {"containers": [{"name": "c", "image": "netpol", "command": ["sleep", "1000"]}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("created");
    let running = await_condition(pods, "sleeper", conditions::is_pod_running());
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("in time").expect("watched");
    let (status, _) = lab.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(traces.left(Duration::from_secs(5)), Vec::<String>::new());
}
