//! What the lab's kubelets do with pods, as `kubectl describe` would show it: the order of containers, probes, hooks,
//! restarts, files, variables, events, and the end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab_runs;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use lab_runs::Lab;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);

struct World {
    _lab: Lab,
    client: Client,
    pods: Api<Pod>,
}

impl World {
    async fn up() -> World {
        let lab = Lab::up(&["--enforcer", "none", "--nodes", "1"]);
        let client = lab.client().await;
        World { _lab: lab, pods: Api::default_namespaced(client.clone()), client }
    }

    async fn create(&self, name: &str, mut spec: Value) {
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = "netpol:test".into();
                }
            }
        }
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = 5.into();
        }
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn until(&self, name: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let waiting = await_condition(self.pods.clone(), name, |pod: Option<&Pod>| pod.is_some_and(&holds));
        match tokio::time::timeout(WITHIN, waiting).await {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => panic!("{name} in time: {:#?}", self.pods.get(name).await.unwrap().status),
        }
    }

    async fn gone(&self, name: &str) {
        let waiting = await_condition(self.pods.clone(), name, |pod: Option<&Pod>| pod.is_none());
        tokio::time::timeout(WITHIN, waiting).await.unwrap().unwrap();
    }

    /// Reasons and messages of the events about a pod, once one has `reason`.
    async fn events(&self, name: &str, reason: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let deadline = Instant::now() + WITHIN;
        loop {
            let list = events.list(&about).await.unwrap().items;
            let said: Vec<(String, String)> =
                list.into_iter().map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect();
            if said.iter().any(|(r, _)| r == reason) {
                return said;
            }
            assert!(Instant::now() < deadline, "no {reason}: {said:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn logs(&self, name: &str, container: &str) -> String {
        let asked = LogParams { container: Some(container.into()), follow: true, ..LogParams::default() };
        let mut text = String::new();
        let stream = self.pods.log_stream(name, &asked).await.unwrap();
        futures::AsyncReadExt::read_to_string(&mut std::pin::pin!(stream), &mut text).await.unwrap();
        text
    }
}

fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "command": ["sh", "-c", script]})
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|c| c.name == name)
}

fn restarts(pod: &Pod, name: &str) -> i32 {
    container(pod, name).map_or(0, |c| c.restart_count)
}

fn waiting<'a>(pod: &'a Pod, name: &str) -> &'a str {
    let state = container(pod, name).and_then(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    state.unwrap_or_default()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> (&'a str, &'a str) {
    let all = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let found = all.iter().find(|c| c.type_ == kind);
    found.map_or(("", ""), |c| (c.status.as_str(), c.reason.as_deref().unwrap_or_default()))
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").0 == "True"
}

#[tokio::test]
async fn init_containers_run_one_after_another_and_sidecars_stay() {
    let world = World::up().await;
    let mut sidecar = sh("sidecar", "echo up; trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done");
    sidecar["restartPolicy"] = "Always".into();
    let spec = json!({
        "restartPolicy": "OnFailure",
        "initContainers": [
            sh("first", "sleep 0.3; date +%s%N"), sidecar, sh("second", "date +%s%N; test -e /proc/self"),
        ],
        "containers": [sh("a", "date +%s%N; sleep 0.5"), sh("b", "date +%s%N")],
    });
    world.create("p", spec).await;
    let initializing = world.until("p", |pod| container(pod, "first").is_some_and(|c| c.started == Some(true))).await;
    assert_eq!(phase(&initializing), "Pending");
    assert_eq!(condition(&initializing, "Initialized"), ("False", "ContainersNotInitialized"));
    assert_eq!(waiting(&initializing, "a"), "PodInitializing");
    assert!(initializing.status.as_ref().unwrap().pod_ip.is_some(), "its init containers have a network");
    let done = world.until("p", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(condition(&done, "Initialized").0, "True");
    assert_eq!(condition(&done, "Ready"), ("False", "PodCompleted"));
    assert_eq!(done.status.as_ref().unwrap().pod_ip, initializing.status.unwrap().pod_ip, "it keeps its address");
    let mut times = Vec::new();
    for name in ["first", "second", "b"] {
        times.push(world.logs("p", name).await.trim().parse::<u64>().unwrap());
    }
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(world.logs("p", "sidecar").await, "up\nasked\n", "it ends after the others");
}

#[tokio::test]
async fn a_failing_init_container_is_tried_again_or_fails_the_pod() {
    let world = World::up().await;
    for (name, policy) in [("never", "Never"), ("always", "Always")] {
        let spec = json!({
            "restartPolicy": policy, "initContainers": [sh("init", "exit 3")], "containers": [sh("main", "exit 0")],
        });
        world.create(name, spec).await;
    }
    let failed = world.until("never", |pod| phase(pod) == "Failed").await;
    assert_eq!(waiting(&failed, "main"), "PodInitializing", "it never ran");
    let looping = world.until("always", |pod| waiting(pod, "init") == "CrashLoopBackOff").await;
    assert_eq!((phase(&looping), restarts(&looping, "init")), ("Pending", 1), "the first restart is immediate");
    let last = container(&looping, "init").unwrap().last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(last.exit_code, 3);
    let events = world.events("always", "BackOff").await;
    assert!(events.iter().any(|(_, message)| message.starts_with("back-off 10s restarting")), "{events:?}");
}

#[tokio::test]
async fn liveness_restarts_and_the_previous_log_stays() {
    let world = World::up().await;
    // The second run finds what the first has written.
    let script = "echo run; mkdir /scratch/1 || mkdir /scratch/2; \
                  trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done";
    let mut main = sh("main", script);
    main["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    main["livenessProbe"] = json!({
        "exec": {"command": ["sh", "-c", "test -e /scratch/2 || { echo broken; exit 1; }"]},
        "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1,
    });
    world.create("p", json!({"containers": [main], "volumes": [{"name": "scratch", "emptyDir": {}}]})).await;
    let restarted = world.until("p", |pod| restarts(pod, "main") == 1 && is_ready(pod)).await;
    let last = container(&restarted, "main").unwrap().last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (0, Some("Completed")), "SIGTERM was enough");
    let previous = LogParams { previous: true, ..LogParams::default() };
    assert_eq!(world.pods.logs("p", &previous).await.unwrap(), "run\nasked\n");
    let events = world.events("p", "Killing").await;
    let said = |reason: &str, text: &str| events.iter().any(|(r, m)| r == reason && m.contains(text));
    assert!(said("Unhealthy", "Liveness probe failed: broken"), "{events:?}");
    assert!(said("Killing", "Container main failed liveness probe, will be restarted"), "{events:?}");
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(said(reason, ""), "{reason}: {events:?}");
    }
}

#[tokio::test]
async fn startup_holds_the_other_probes_back() {
    let world = World::up().await;
    let script = "sleep 1.2; exec netpol agent server --port 8080";
    let mut main = sh("main", script);
    main["ports"] = json!([{"name": "web", "containerPort": 8080}]);
    main["startupProbe"] = json!({"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 20});
    // Without the startup probe it would be killed at once.
    main["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    main["readinessProbe"] = json!({"httpGet": {"port": "web"}, "periodSeconds": 1});
    world.create("p", json!({"containers": [main]})).await;
    let before = world.until("p", |pod| phase(pod) == "Running").await;
    assert_eq!(container(&before, "main").unwrap().started, Some(false));
    assert!(!is_ready(&before));
    let ready = world.until("p", is_ready).await;
    assert_eq!((container(&ready, "main").unwrap().started, restarts(&ready, "main")), (Some(true), 0));
}

#[tokio::test]
async fn readiness_wants_every_container_and_every_gate() {
    let world = World::up().await;
    let mut slow = sh("slow", "sleep 1000");
    slow["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/proc/self"]}, "periodSeconds": 1});
    let gate = "example.org/checked";
    let spec = json!({"containers": [sh("main", "sleep 1000"), slow], "readinessGates": [{"conditionType": gate}]});
    world.create("p", spec).await;
    let gated = world.until("p", |pod| condition(pod, "ContainersReady").0 == "True").await;
    assert_eq!(condition(&gated, "Ready"), ("False", "ReadinessGatesNotReady"));
    let patch = json!({"status": {"conditions": [{"type": gate, "status": "True"}]}});
    world.pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let ready = world.until("p", is_ready).await;
    assert_eq!(condition(&ready, gate).0, "True", "what others have set stays");
}

#[tokio::test]
async fn the_network_stays_until_the_containers_are_gone() {
    let world = World::up().await;
    let mut main = sh("main", "trap 'echo term' TERM; while :; do sleep 0.05; done");
    main["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["true"]}},
        "preStop": {"exec": {"command": ["sleep", "0.4"]}},
    });
    world.create("p", json!({"containers": [main], "terminationGracePeriodSeconds": 2})).await;
    let running = world.until("p", |pod| phase(pod) == "Running").await;
    let started = Instant::now();
    world.pods.delete("p", &DeleteParams::default()).await.unwrap();
    let terminating = world.until("p", |pod| pod.metadata.deletion_timestamp.is_some()).await;
    assert_eq!(phase(&terminating), "Running");
    let ping = ["ping", "-c", "1", "-W", "1", "127.0.0.1"];
    let mut ping = world.pods.exec("p", ping, &AttachParams::default().stderr(false)).await.unwrap();
    let status = ping.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"), "exec works while it terminates: {status:?}");
    let asked = world.until("p", |pod| phase(pod) == "Failed").await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(6), "killed after its grace: {took:?}");
    let end = container(&asked, "main").unwrap().state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((end.exit_code, end.signal), (137, Some(9)));
    assert_eq!(asked.status.unwrap().pod_ip, running.status.unwrap().pod_ip);
    world.gone("p").await;
}

#[tokio::test]
async fn the_same_name_again_is_another_pod() {
    let world = World::up().await;
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..5 {
        world.create("web-0", json!({"containers": [sh("main", "exec sleep 1000")]})).await;
        let pod = world.until("web-0", is_ready).await;
        let status = pod.status.unwrap();
        let id = status.container_statuses.unwrap()[0].container_id.clone();
        assert!(seen.insert((pod.metadata.uid.clone(), id)), "round {round}: {seen:?}");
        world.pods.delete("web-0", &DeleteParams::default()).await.unwrap();
        world.gone("web-0").await;
    }
}

#[tokio::test]
async fn an_image_that_is_missing_backs_off_until_it_is_another() {
    let world = World::up().await;
    let spec = json!({"containers": [{"name": "bad", "image": "nginx:1.29"}, sh("good", "sleep 1000")]});
    world.create("p", spec).await;
    let pulling = world.until("p", |pod| waiting(pod, "bad") == "ErrImagePull").await;
    assert_eq!(phase(&pulling), "Pending");
    let backing = world.until("p", |pod| waiting(pod, "bad") == "ImagePullBackOff").await;
    let good = container(&backing, "good").unwrap();
    assert!(good.ready && good.state.as_ref().unwrap().running.is_some(), "the others run");
    let events = world.events("p", "BackOff").await;
    assert!(events.iter().any(|(r, m)| r == "Failed" && m.contains("nginx:1.29")), "{events:?}");
    let patch = json!({"spec": {"containers": [{"name": "bad", "image": "netpol", "args": null}]}});
    world.pods.patch("p", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    world.until("p", |pod| waiting(pod, "bad") != "ImagePullBackOff").await;
}

#[tokio::test]
async fn what_cannot_be_honoured_or_placed_is_said_in_an_event() {
    let world = World::up().await;
    let mut main = sh("main", "sleep 1000");
    world.create("far", json!({"containers": [main], "nodeSelector": {"disk": "tape"}})).await;
    let events = world.events("far", "FailedScheduling").await;
    // The second one is what lies outside.
    let expected = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
                    1 node(s) had untolerated taint {netpol.dev/outside: }.";
    assert!(events.iter().any(|(_, message)| message == expected), "{events:?}");
    let far = world.until("far", |pod| condition(pod, "PodScheduled").0 == "False").await;
    assert_eq!(condition(&far, "PodScheduled").1, "Unschedulable");
    main["securityContext"] = json!({"runAsUser": 1000});
    world.create("user", json!({"containers": [main]})).await;
    let events = world.events("user", "Failed").await;
    assert!(events.iter().any(|(_, message)| message.contains("runAsUser 1000")), "{events:?}");
    assert_eq!(phase(&world.pods.get("user").await.unwrap()), "Pending");
}

#[tokio::test]
async fn capabilities_and_sysctls_are_what_was_asked_for() {
    let world = World::up().await;
    let mut main =
        sh("main", "grep CapBnd /proc/self/status; cat /proc/sys/net/ipv4/ip_default_ttl; ip link add x type dummy");
    main["securityContext"] = json!({"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}});
    let sysctls = json!({"sysctls": [{"name": "net.ipv4.ip_default_ttl", "value": "33"}]});
    let spec = json!({"containers": [main], "restartPolicy": "Never", "securityContext": sysctls});
    world.create("p", spec).await;
    world.until("p", |pod| phase(pod) == "Failed").await;
    let said = world.logs("p", "main").await;
    assert!(said.contains("CapBnd:\t0000000000002000\n33\n"), "{said}");
}

#[tokio::test]
async fn files_and_variables_come_from_where_the_pod_says() {
    let world = World::up().await;
    let configs: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(world.client.clone());
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(world.client.clone());
    let script = "cat /etc/of-the-lab/colour /etc/of-the-lab/sub/password /below/labels; \
                  echo $COLOUR-$PREFIX_colour-$PASSWORD-$NONE-; \
                  (echo x >/etc/of-the-lab/colour) 2>/dev/null || echo read-only; \
                  test -r /etc/hostname && ls /etc/of-the-lab; \
                  cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
                  grep -c CERTIFICATE /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; \
                  echo ${KUBERNETES_SERVICE_HOST}";
    let mut main = sh("main", script);
    main["env"] = json!([
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "none", "optional": true}}},
    ]);
    main["envFrom"] = json!([{"prefix": "PREFIX_", "configMapRef": {"name": "settings"}}]);
    main["volumeMounts"] = json!([
        {"name": "all", "mountPath": "/etc/of-the-lab"}, {"name": "labels", "mountPath": "/below"},
    ]);
    let sources = json!([
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "keys", "items": [{"key": "password", "path": "sub/password"}]}},
    ]);
    let labels = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [main],
        "volumes": [{"name": "all", "projected": {"sources": sources}}, {"name": "labels", "downwardAPI": {"items": labels}}],
    });
    world.create("p", spec).await;
    let events = world.events("p", "FailedMount").await;
    assert!(events.iter().any(|(_, message)| message.contains("settings")), "{events:?}");
    let settings = json!({"metadata": {"name": "settings"}, "data": {"colour": "green\n"}});
    let keys = json!({"metadata": {"name": "keys"}, "data": {"password": "b3BlbgoK"}});
    configs.create(&PostParams::default(), &serde_json::from_value(settings).unwrap()).await.unwrap();
    secrets.create(&PostParams::default(), &serde_json::from_value(keys).unwrap()).await.unwrap();
    world.until("p", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
    let said = world.logs("p", "main").await;
    let expected = "green\nopen\n\npgreen -green -open --\nread-only\ncolour\nsub\ndefault\n2\n10.96.0.1\n";
    assert_eq!(said, expected);
    assert!(!std::path::Path::new("/etc/of-the-lab").exists(), "nothing of it is on the host");
}
