//! The embedded cluster by itself: nodes, routes, pods, exec, logs, deletion. No policy, no enforcer.

mod lab_runs;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{AttachParams, DeleteParams, ListParams, LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Api, Client};
use lab_runs::{Lab, NETPOL, eventually, target_up};
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(10);

fn pod(name: &str, container: serde_json::Value) -> Pod {
    let mut container = container;
    container["name"] = "main".into();
    if container["image"].is_null() {
        container["image"] = "netpol".into();
    }
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 5, "restartPolicy": "Never"},
    }))
    .expect("a pod")
}

async fn create(pods: &Api<Pod>, pod: &Pod) -> Pod {
    pods.create(&PostParams::default(), pod).await.expect("created")
}

async fn until(pods: &Api<Pod>, name: &str, condition: impl Condition<Pod>) -> Option<Pod> {
    let waiting = await_condition(pods.clone(), name, condition);
    tokio::time::timeout(WITHIN, waiting).await.unwrap_or_else(|_| panic!("{name} in time")).expect("watched")
}

async fn running(pods: &Api<Pod>, new: &Pod) -> Pod {
    create(pods, new).await;
    let name = new.metadata.name.as_deref().expect("a name");
    until(pods, name, conditions::is_pod_running()).await.expect("it is there")
}

fn ip(pod: &Pod) -> IpAddr {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).expect("an address").parse().expect("an address")
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).expect("a node")
}

/// Runs a command in a pod: exit code and standard output.
async fn exec(pods: &Api<Pod>, name: &str, command: &[&str]) -> (i32, String) {
    let parameters = AttachParams::default().stdout(true).stderr(false);
    let mut attached = pods.exec(name, command.iter().copied(), &parameters).await.expect("exec");
    let mut output = String::new();
    let mut stdout = attached.stdout().expect("standard output");
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut output).await.expect("text");
    let status = attached.take_status().expect("a status").await.expect("a status");
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message.as_deref()?.parse().ok()).unwrap_or(0);
    (code, output)
}

fn sleeper() -> serde_json::Value {
    json!({"command": ["sleep", "1000"]})
}

async fn lab(arguments: &[&str]) -> (Lab, Client, Api<Pod>) {
    let lab = Lab::up(&[arguments, &["--enforcer", "none"]].concat());
    let client = lab.client().await;
    let pods = Api::default_namespaced(client.clone());
    (lab, client, pods)
}

#[tokio::test]
async fn nodes_are_ready_and_have_addresses_and_pod_cidrs() {
    let (lab, client, _) = lab(&["--nodes", "3"]).await;
    assert_eq!(lab.line["owned"], true);
    assert_eq!(lab.line["context"], format!("netpol-lab-{}", lab.run));
    // Beside what is outside.
    let workers = ListParams::default().labels("!netpol.dev/outside");
    let nodes = Api::<Node>::all(client).list(&workers).await.expect("nodes").items;
    let names: Vec<_> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    let cidrs: BTreeSet<_> = nodes.iter().filter_map(|n| n.spec.as_ref()?.pod_cidr.clone()).collect();
    assert_eq!(cidrs.len(), 3);
    for node in &nodes {
        let status = node.status.as_ref().expect("a status");
        let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready").expect("a condition");
        assert_eq!(ready.status, "True");
        assert!(status.addresses.iter().flatten().any(|a| a.type_ == "InternalIP" && a.address.starts_with("172.18.")));
    }
}

#[tokio::test]
async fn pods_reach_each_other_within_and_across_nodes_and_see_real_sources() {
    let (_lab, _, pods) = lab(&[]).await;
    // Turn by turn over two nodes: a and c share one, b has the other.
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(running(&pods, &pod(name, json!({"args": ["agent", "server", "--port", "8888"]}))).await);
    }
    assert_eq!(node(&made[0]), node(&made[2]));
    assert_ne!(node(&made[0]), node(&made[1]));
    for from in ["a", "b", "c"] {
        for to in &made {
            let (code, output) = exec(&pods, from, &["ping", "-c", "1", "-W", "2", &ip(to).to_string()]).await;
            assert_eq!(code, 0, "{from} to {}: {output}", ip(to));
        }
    }
    // From a pod to its own node and to the other.
    for host in made.iter().take(2).filter_map(|pod| pod.status.as_ref()?.host_ip.clone()) {
        assert_eq!(exec(&pods, "a", &["ping", "-c", "1", "-W", "2", &host]).await.0, 0, "{host}");
    }
}

#[tokio::test]
async fn a_pods_network_is_its_own() {
    let (_lab, _, pods) = lab(&[]).await;
    let made = running(&pods, &pod("alone", sleeper())).await;
    let (_, devices) = exec(&pods, "alone", &["sh", "-c", "sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '"]).await;
    assert_eq!(devices.split_whitespace().collect::<BTreeSet<_>>(), BTreeSet::from(["eth0", "lo"]));
    let (_, settings) = exec(&pods, "alone", &["cat", "/proc/sys/net/ipv4/ping_group_range"]).await;
    assert!(settings.starts_with('0'), "{settings}");
    // One page of the routing table: a default route by the gateway, and the gateway itself; nothing of the node's network.
    let (_, routes) = exec(&pods, "alone", &["sh", "-c", "sed 1d /proc/net/route | wc -l"]).await;
    assert_eq!(routes.trim(), "2", "for {}", ip(&made));
}

#[tokio::test]
async fn exec_gives_streams_exit_codes_and_the_containers_environment() {
    let (_lab, _, pods) = lab(&[]).await;
    let env = json!([
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "BOTH", "value": "$(POD)/$(IP)"},
    ]);
    let made =
        running(&pods, &pod("p", json!({"command": ["sh", "-c", "echo $(BOTH); exec sleep 1000"], "env": env}))).await;
    let (code, output) = exec(&pods, "p", &["sh", "-c", "echo $BOTH; exit 7"]).await;
    assert_eq!((code, output.trim()), (7, format!("p/{}", ip(&made)).as_str()));
    assert_eq!(pods.logs("p", &LogParams::default()).await.expect("logs").trim(), format!("p/{}", ip(&made)));
    let mut attached = pods.exec("p", ["cat"], &AttachParams::default().stdin(true).stderr(false)).await.expect("exec");
    let mut stdin = attached.stdin().expect("standard input");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"through\n").await.expect("written");
    let mut line = [0; 8];
    let mut stdout = attached.stdout().expect("standard output");
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut line).await.expect("read");
    assert_eq!(&line, b"through\n");
    let terminal = AttachParams::interactive_tty();
    let mut attached =
        pods.exec("p", ["sh", "-c", "test -t 0 && test -t 1 && echo tty"], &terminal).await.expect("exec");
    let mut output = String::new();
    let mut stdout = attached.stdout().expect("the terminal");
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut output).await.expect("text");
    assert_eq!(output.trim(), "tty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_goes_when_its_exec_is_dropped() {
    let (lab, _, pods) = lab(&[]).await;
    running(&pods, &pod("p", json!({"command": ["sleep", "1000"]}))).await;
    let attached = pods.exec("p", ["sleep", "2000"], &AttachParams::default()).await.expect("exec");
    assert!(eventually(WITHIN, || (lab.programs("sleep").len() != 2).then_some(())).is_none(), "it runs");
    attached.abort();
    assert!(eventually(WITHIN, || (lab.programs("sleep").len() != 1).then_some(())).is_none(), "it is gone");
}

#[tokio::test]
async fn logs_are_followed_to_the_containers_end() {
    let (_lab, _, pods) = lab(&[]).await;
    let script = "echo one; echo two >&2; sleep 0.2; echo three; exit 3";
    running(&pods, &pod("p", json!({"command": ["sh", "-c", script]}))).await;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let lines: Vec<String> =
        pods.log_stream("p", &follow).await.expect("logs").lines().try_collect().await.expect("lines");
    assert_eq!(lines, ["one", "two", "three"]);
    let failed = until(&pods, "p", |pod: Option<&Pod>| phase(pod) == Some("Failed")).await.expect("it is there");
    let state =
        failed.status.and_then(|s| s.container_statuses?.first()?.state.clone()?.terminated).expect("terminated");
    assert_eq!((state.exit_code, state.reason.as_deref()), (3, Some("Error")));
}

fn phase(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}

#[tokio::test]
async fn deletion_ends_every_process_of_a_pod_and_no_other() {
    let (lab, _, pods) = lab(&[]).await;
    running(&pods, &pod("other", sleeper())).await;
    // One child has a session of its own, and the shell does not hand signals on.
    let script = "setsid sleep 2000 & sleep 3000 & sleep 4000";
    running(&pods, &pod("many", json!({"command": ["sh", "-c", script]}))).await;
    assert!(eventually(WITHIN, || (lab.programs("sleep").len() != 4).then_some(())).is_none(), "they run");
    let started = Instant::now();
    pods.delete("many", &DeleteParams::default()).await.expect("deleted");
    until(&pods, "many", |pod: Option<&Pod>| pod.is_none()).await;
    assert!(started.elapsed() < Duration::from_secs(2), "SIGTERM is enough: {:?}", started.elapsed());
    assert_eq!(lab.programs("sleep").len(), 1, "the object goes last");
}

#[tokio::test]
async fn a_pod_that_ignores_sigterm_has_its_grace_period() {
    let (_lab, _, pods) = lab(&[]).await;
    running(&pods, &pod("stubborn", json!({"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]})))
        .await;
    let started = Instant::now();
    pods.delete("stubborn", &DeleteParams::default().grace_period(1)).await.expect("deleted");
    until(&pods, "stubborn", |pod: Option<&Pod>| pod.is_none()).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn an_address_is_not_used_again_at_once() {
    let (_lab, _, pods) = lab(&["--nodes", "1"]).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let made = running(&pods, &pod("again", sleeper())).await;
        assert!(seen.insert(ip(&made)), "{} is used again", ip(&made));
        pods.delete("again", &DeleteParams::default().grace_period(0)).await.expect("deleted");
        until(&pods, "again", |pod: Option<&Pod>| pod.is_none()).await;
    }
}

#[tokio::test]
async fn what_the_lab_has_not_is_said_in_the_status() {
    let (_lab, _, pods) = lab(&[]).await;
    let reason = |pod: Option<&Pod>| {
        let waiting = pod?.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()?.waiting.clone()?;
        Some((waiting.reason?, waiting.message?))
    };
    create(&pods, &pod("image", json!({"image": "nginx:1.29"}))).await;
    create(&pods, &pod("probe", json!({"livenessProbe": {"grpc": {"port": 80}}}))).await;
    let image = until(&pods, "image", |pod: Option<&Pod>| reason(pod).is_some_and(|r| r.0 == "ErrImagePull")).await;
    assert!(reason(image.as_ref()).is_some_and(|r| r.1.contains("nginx:1.29")));
    let config = |pod: Option<&Pod>| reason(pod).is_some_and(|r| r.0 == "CreateContainerConfigError");
    let probe = until(&pods, "probe", config).await;
    assert!(reason(probe.as_ref()).is_some_and(|r| r.1.contains("livenessProbe")));
}

#[tokio::test]
async fn readiness_is_probed_from_the_node() {
    let (_lab, _, pods) = lab(&[]).await;
    let mut server = pod(
        "server",
        json!({
            "args": ["agent", "server", "--port", "8888"],
            "readinessProbe": {"httpGet": {"port": 8888}, "periodSeconds": 1},
        }),
    );
    running(&pods, &server).await;
    let ready = |pod: Option<&Pod>| {
        pod.and_then(|p| p.status.as_ref()?.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    };
    until(&pods, "server", ready).await;
    server.metadata.name = Some("deaf".into());
    let container = &mut server.spec.as_mut().expect("a spec").containers[0];
    container.readiness_probe.as_mut().and_then(|p| p.http_get.as_mut()).expect("a probe").port =
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(9999);
    running(&pods, &server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!ready(Some(&pods.get("deaf").await.expect("it is there"))));
}

#[tokio::test]
async fn a_foreign_enforcer_runs_once_per_node_in_its_network() {
    let command = "command:sh -c 'echo node={node} $(test -r {kubeconfig} && echo readable); exec sleep 1000'";
    let lab = Lab::up(&["--enforcer", command]);
    let pods: Api<Pod> = Api::namespaced(lab.client().await, "kube-system");
    let list = pods.list(&ListParams::default().labels("app=external-enforcer")).await.expect("pods").items;
    assert_eq!(list.iter().map(node).collect::<BTreeSet<_>>(), BTreeSet::from(["worker-1", "worker-2"]));
    for pod in &list {
        let name = pod.metadata.name.as_deref().expect("a name");
        let status = pod.status.as_ref().expect("a status");
        assert_eq!(status.pod_ip, status.host_ip, "hostNetwork");
        let expected = format!("node={} readable", node(pod));
        let follow = LogParams { follow: true, ..LogParams::default() };
        let first = pods.log_stream(name, &follow).await.expect("logs").lines().try_next().await.expect("a line");
        assert_eq!(first, Some(expected));
    }
}

#[test]
fn a_foreign_enforcer_that_cannot_stay_is_named_with_its_last_words() {
    for (command, expected) in [
        (
            "command:/nonexistent/enforcer --x",
            &["the enforcer on worker-", "/nonexistent/enforcer", "cannot be started"][..],
        ),
        (
            "command:sh -c 'echo no such table >&2; exit 7'",
            &["external-enforcer-worker-", "exit code 7", "no such table"],
        ),
    ] {
        let started = Instant::now();
        let run = lab_runs::new_run();
        let mut up = target_up(&run, &["--nodes", "2", "--enforcer", command]);
        let mut up = up.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        // Its end would end the lab.
        let _stdin = up.stdin.take();
        let output = up.wait_with_output().expect("ours");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        for word in expected {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(started.elapsed() < WITHIN, "it does not wait for a node to become Ready");
        assert_eq!(lab_runs::directory_of(&run), None);
    }
}

#[test]
fn a_bad_enforcer_is_bad_input() {
    for (enforcer, word) in [("calico", "calico"), ("command:prog {nodes}", "nodes"), ("command:", "program")] {
        let output = target_up("bad", &["--enforcer", enforcer]).stdin(Stdio::null()).output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{enforcer}: {said}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn people_are_told_how_to_use_and_end_it() {
    let run = lab_runs::new_run();
    let mut child = Command::new(NETPOL)
        .args(["lab", "up", "--enforcer", "none", "--run", &run])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("a pipe")));
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.contains("Ctrl-C")).collect();
    assert!(said.iter().any(|line| line.contains("export KUBECONFIG=") && line.contains(&run)), "{said:?}");
    lab_runs::send(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("ours").code(), Some(0), "Ctrl-C is how people end it");
}

/// The design asks for 300 ms of a release build on an idle machine; this is a debug build beside other tests.
#[tokio::test(flavor = "multi_thread")]
async fn pods_start_side_by_side() {
    let (lab, _, pods) = lab(&[]).await;
    assert!(lab.boot < Duration::from_secs(2), "boot took {:?}", lab.boot);
    let names: Vec<String> = (1..=9).map(|number| format!("p{number}")).collect();
    let started = Instant::now();
    futures::future::join_all(names.iter().map(|name| async { running(&pods, &pod(name, sleeper())).await })).await;
    let took = started.elapsed();
    println!("boot {:?}, nine pods {took:?}", lab.boot);
    assert!(took < Duration::from_secs(2), "nine pods took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_builtin_enforcer_is_a_pod_on_every_node_and_comes_back_when_deleted() {
    let lab = Lab::up(&[]);
    let pods: Api<Pod> = Api::namespaced(lab.client().await, "kube-system");
    let list = pods.list(&ListParams::default().labels("app=netpol-enforcer")).await.expect("pods").items;
    assert_eq!(list.iter().map(node).collect::<BTreeSet<_>>(), BTreeSet::from(["worker-1", "worker-2"]));
    let name = list[0].metadata.name.clone().expect("a name");
    let uid = list[0].metadata.uid.clone();
    pods.delete(&name, &DeleteParams::default()).await.expect("deleted");
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let another = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.metadata.uid != uid && ready(pod));
    until(&pods, &name, another).await;
}

#[tokio::test]
async fn a_node_has_direct_routes_to_the_pods_of_the_others() {
    let (_lab, _, pods) = lab(&[]).await;
    let mut on_node = pod("on-node", sleeper());
    let spec = on_node.spec.as_mut().expect("a spec");
    spec.host_network = Some(true);
    spec.node_selector = Some([("kubernetes.io/hostname".to_owned(), "worker-1".to_owned())].into());
    let made = running(&pods, &on_node).await;
    assert_eq!(node(&made), "worker-1");
    assert_eq!(ip(&made).to_string(), "172.18.0.2", "a hostNetwork pod has its node's address");
    let (_, routes) = exec(&pods, "on-node", &["cat", "/proc/net/route"]).await;
    // Addresses as the kernel prints them there: hexadecimal, the last byte first.
    let via_worker_2 = |line: &str| line.starts_with("eth0\t0002F40A\t030012AC\t");
    assert!(routes.lines().any(via_worker_2), "10.244.2.0/24 via 172.18.0.3: {routes}");
}
