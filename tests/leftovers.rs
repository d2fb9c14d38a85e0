//! Whatever ends a run, nothing of it stays: no process, namespace, interface, mount or file.

mod lab_runs;

use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use lab_runs::{Lab, NETPOL, Traces, child_of, directory_of, eventually, new_run, processes_of, send, target_up};
use rustix::process::{Pid, Signal};

/// How long the kernel and our processes may take to clean up.
const WITHIN: Duration = Duration::from_secs(5);

/// Boots a lab with an enforcer that only sleeps, ends it by `end`, and expects an exit code and nothing left.
fn ended_by(code: Option<i32>, end: impl FnOnce(&mut Lab)) {
    let interfaces = Traces::interfaces();
    let mut lab = Lab::up(&["--enforcer", "command:sleep 1000"]);
    assert_eq!(lab.programs("sleep").len(), 2, "one enforcer per node");
    let traces = Traces::of(&lab, interfaces);
    end(&mut lab);
    assert_eq!(traces.left(WITHIN), Vec::<String>::new());
    assert_eq!(lab.process.wait().expect("the parent is ours").code(), code);
}

#[test]
fn success_leaves_nothing_and_is_fast() {
    ended_by(Some(0), |lab| {
        let (_, took) = lab.end();
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}

#[test]
fn sigint_leaves_nothing() {
    ended_by(Some(130), |lab| send(lab.parent(), Signal::INT));
}

#[test]
fn sigterm_leaves_nothing() {
    ended_by(Some(130), |lab| send(lab.parent(), Signal::TERM));
}

#[test]
fn a_killed_parent_leaves_nothing() {
    ended_by(None, |lab| send(lab.parent(), Signal::KILL));
}

#[test]
fn a_killed_stage_leaves_nothing() {
    ended_by(Some(3), |lab| send(lab.stage(), Signal::KILL));
}

#[test]
fn a_killed_init_leaves_nothing() {
    ended_by(Some(3), |lab| send(lab.init(), Signal::KILL));
}

#[test]
fn killed_parent_and_stage_leave_nothing() {
    ended_by(None, |lab| {
        let (parent, stage) = (lab.parent(), lab.stage());
        send(stage, Signal::STOP);
        send(parent, Signal::KILL);
        send(stage, Signal::KILL);
    });
}

#[test]
fn a_killed_enforcer_is_started_again_and_leaves_nothing() {
    ended_by(Some(0), |lab| {
        let before = lab.programs("sleep");
        let victim = *before.first().expect("an enforcer");
        send(Pid::from_raw(victim).expect("not zero"), Signal::KILL);
        let missing = eventually(WITHIN, || {
            let now = lab.programs("sleep");
            if now.len() == 2 && !now.contains(&victim) { None } else { Some(now) }
        });
        assert_eq!(missing, None, "two enforcers again, without {victim}");
        lab.end();
    });
}

/// ^C in a terminal reaches every process of the foreground group, not only the parent.
#[test]
fn an_interrupt_of_the_process_group_leaves_nothing() {
    use std::os::unix::process::CommandExt;
    let interfaces = Traces::interfaces();
    let run = new_run();
    let mut command = target_up(&run, &["--enforcer", "none"]);
    command.process_group(0);
    let mut lab = Lab::start(command, run);
    let traces = Traces::of(&lab, interfaces);
    // Waiting for a child closes its standard input, which would be a second reason to end.
    let _stdin = lab.process.stdin.take();
    rustix::process::kill_process_group(lab.parent(), Signal::INT).expect("the group is ours");
    assert_eq!(lab.process.wait().expect("the parent is ours").code(), Some(130));
    assert_eq!(traces.left(WITHIN), Vec::<String>::new());
}

#[test]
fn a_parent_killed_while_it_boots_leaves_nothing() {
    for delay in [0, 5, 10, 20, 40, 80] {
        let run = new_run();
        let mut booting = target_up(&run, &["--enforcer", "none"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(Duration::from_millis(delay));
        booting.kill().expect("it is ours");
        booting.wait().expect("it is ours");
        let left = eventually(WITHIN, || processes_of(&run).into_iter().collect::<Vec<_>>());
        assert_eq!(left, Vec::<i32>::new(), "killed after {delay} ms");
        assert_eq!(eventually(WITHIN, || directory_of(&run)), None, "killed after {delay} ms");
    }
}

/// In a user namespace without room for network namespaces the kernel refuses the third step of the boot.
#[test]
fn a_refused_boot_names_the_cause_and_leaves_nothing() {
    let run = new_run();
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" lab up --run \"$1\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script, NETPOL, &run])
        .stdin(Stdio::null())
        .output()
        .expect("unshare can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot make a network namespace") && said.contains("remedy:"), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(processes_of(&run).len(), 0);
    assert_eq!(directory_of(&run), None);
}

#[test]
fn a_run_id_that_is_taken_is_refused_and_its_lab_goes_on() {
    let mut first = Lab::up(&["--enforcer", "none"]);
    let second = Command::new(NETPOL).args(["lab", "up", "--enforcer", "none", "--run", &first.run]).output();
    let second = second.expect("started");
    assert_eq!(second.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&first.run));
    assert!(first.kubeconfig().exists(), "the first lab's files are not the second's to remove");
    let (status, _) = first.end();
    assert_eq!(status.code(), Some(0));
}

/// The child of a run against a cluster of one's own is what cleans up; without it the run ends, and does that itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_child_is_killed_ends_soon_and_leaves_no_namespace() {
    let mut lab = Lab::up(&[]);
    let namespaces: Api<Namespace> = Api::all(lab.client().await);
    let ours = kube::api::ListParams::default().labels("netpol.dev/run");
    let mut run = Command::new(NETPOL)
        .args(["run", "walkthrough/replies", "--pace", "1h", "--target"])
        .arg(format!("kubeconfig:{}", lab.kubeconfig().display()))
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    let begun = std::time::Instant::now();
    while namespaces.list(&ours).await.expect("the API server answers").items.is_empty() {
        assert!(begun.elapsed() < WITHIN, "the run has made no namespace");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    send(child_of(Pid::from_child(&run)), Signal::KILL);
    let running = eventually(Duration::from_secs(20), || run.try_wait().expect("it is ours").is_none());
    assert!(!running, "the run goes on without its child");
    assert_eq!(run.wait().expect("it is ours").code(), Some(3));
    let left = namespaces.list(&ours).await.expect("the API server answers").items;
    assert_eq!(left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), Vec::<String>::new());
    lab.end();
}
