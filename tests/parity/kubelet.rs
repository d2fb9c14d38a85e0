//! What kubelets do: images, init containers, restarts, conditions, probes, deletion.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, LogParams};
use kube::{ResourceExt, runtime::watcher};
use serde_json::{Value, json};

use super::cluster::{World, in_world, is_ready};

/// A container that prints the version and ends with 0.
fn ends_well() -> Value {
    json!({"args": ["--version"]})
}

/// A container that ends with 2: there is no such command.
fn ends_badly() -> Value {
    json!({"args": ["no-such-command"]})
}

impl World {
    /// Creates a pod of one container, `agent`, that is no agent, with more in its spec.
    async fn short_lived(&self, name: &str, container: Value, more: Value) {
        let mut pod = self.agent(name, json!({}));
        pod["spec"]["containers"][0]["args"] = container["args"].clone();
        for (key, value) in more.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        self.create::<Pod>(pod).await;
    }

    /// An init container of the same image.
    fn init(&self, name: &str, container: Value) -> Value {
        json!({"name": name, "image": self.image, "imagePullPolicy": "IfNotPresent", "args": container["args"]})
    }
}

fn phase(pod: Option<&Pod>) -> &str {
    pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()).unwrap_or_default()
}

/// The container, or init container, of this name.
fn container(pod: &Pod, name: &str) -> Option<ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|container| container.name == name).cloned()
}

fn waits_for(pod: Option<&Pod>, name: &str) -> String {
    let state = pod.and_then(|pod| container(pod, name)?.state?.waiting?.reason);
    state.unwrap_or_default()
}

/// A condition's status and reason.
fn condition(pod: &Pod, kind: &str) -> (String, String) {
    let all = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let found = all.iter().find(|condition| condition.type_ == kind);
    found.map(|c| (c.status.clone(), c.reason.clone().unwrap_or_default())).unwrap_or_default()
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn an_image_that_is_nowhere_is_said_in_the_status() {
    in_world(async |world| {
        let mut pod = world.agent("lost", json!({}));
        pod["spec"]["containers"][0]["image"] = "registry.invalid/nothing:1".into();
        world.create::<Pod>(pod).await;
        let known = ["ErrImagePull", "ImagePullBackOff"];
        let refused = |pod: Option<&Pod>| known.contains(&waits_for(pod, "agent").as_str());
        let pod = world.until("lost", "cannot have its image", refused).await;
        assert_eq!(phase(Some(&pod)), "Pending");
        assert_eq!(condition(&pod, "Ready"), is("False", "ContainersNotReady"));
        assert_eq!(condition(&pod, "PodScheduled").0, "True");
        let backed_off = |pod: Option<&Pod>| waits_for(pod, "agent") == "ImagePullBackOff";
        world.until("lost", "is tried less and less often", backed_off).await;
    })
    .await;
}

#[tokio::test]
async fn conditions_and_times_come_in_their_order() {
    in_world(async |world| {
        let pod = world.ready(world.agent("server", json!({}))).await;
        let status = pod.status.as_ref().unwrap();
        let started = container(&pod, "agent").unwrap().state.unwrap().running.unwrap().started_at.unwrap().0;
        let since = |kind: &str| {
            let all = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
            let condition = all.unwrap_or_else(|| panic!("no condition {kind}"));
            assert_eq!(condition.status, "True", "{kind}");
            condition.last_transition_time.as_ref().unwrap().0
        };
        let times = [
            ("creation", pod.creation_timestamp().unwrap().0),
            ("PodScheduled", since("PodScheduled")),
            ("start", status.start_time.as_ref().unwrap().0),
            ("Initialized", since("Initialized")),
            ("container", started),
            ("ContainersReady", since("ContainersReady")),
        ];
        // In whole seconds, so that equal is common. Initialized is set by the kubelet before or with the container's start.
        let mut sorted = times;
        sorted.sort_by_key(|(_, time): &(_, Timestamp)| *time);
        assert_eq!(sorted.map(|(_, time)| time), times.map(|(_, time)| time), "{times:?}");
        assert!(since("Ready") >= since("ContainersReady"));
        assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    })
    .await;
}

#[tokio::test]
async fn init_containers_end_before_the_others_start_and_a_finished_pod_keeps_its_address() {
    in_world(async |world| {
        let init = json!([world.init("first", ends_well()), world.init("second", ends_well())]);
        world.short_lived("job", ends_well(), json!({"restartPolicy": "Never", "initContainers": init})).await;
        let pod = world.until("job", "succeeds", |pod: Option<&Pod>| phase(pod) == "Succeeded").await;
        let ended = |name: &str| container(&pod, name).unwrap().state.unwrap().terminated.unwrap();
        for name in ["first", "second", "agent"] {
            assert_eq!((ended(name).exit_code, ended(name).reason.as_deref()), (0, Some("Completed")), "{name}");
        }
        let order = [("first", "second"), ("second", "agent")];
        for (before, after) in order {
            assert!(ended(before).finished_at <= ended(after).started_at, "{before} and {after}");
        }
        assert_eq!(condition(&pod, "Ready"), is("False", "PodCompleted"));
        assert_eq!(condition(&pod, "Initialized"), is("True", "PodCompleted"));
        assert!(pod.status.as_ref().unwrap().pod_ip.is_some());
        let log = LogParams { container: Some("agent".into()), ..LogParams::default() };
        assert!(world.api::<Pod>().logs("job", &log).await.unwrap().contains("netpol"));
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_restarted_as_the_pod_says() {
    in_world(async |world| {
        world.short_lived("never", ends_badly(), json!({"restartPolicy": "Never"})).await;
        world.short_lived("again", ends_badly(), json!({"restartPolicy": "OnFailure"})).await;
        let init = json!([world.init("init", ends_badly())]);
        world.short_lived("init", ends_well(), json!({"restartPolicy": "Never", "initContainers": init})).await;
        let failed = world.until("never", "fails", |pod: Option<&Pod>| phase(pod) == "Failed").await;
        let end = container(&failed, "agent").unwrap();
        assert_eq!(end.restart_count, 0);
        let end = end.state.unwrap().terminated.unwrap();
        assert_eq!((end.exit_code, end.reason.as_deref()), (2, Some("Error")));

        let looping = |pod: Option<&Pod>| waits_for(pod, "agent") == "CrashLoopBackOff";
        let looping = world.until("again", "waits longer and longer", looping).await;
        assert_eq!(phase(Some(&looping)), "Running");
        let again = container(&looping, "agent").unwrap();
        assert!(again.restart_count >= 1 && !again.ready);
        assert_eq!(again.last_state.unwrap().terminated.unwrap().exit_code, 2);

        let failed =
            world.until("init", "fails by its init container", |pod: Option<&Pod>| phase(pod) == "Failed").await;
        assert_eq!(waits_for(Some(&failed), "agent"), "PodInitializing", "it never ran");
        assert_eq!(condition(&failed, "Initialized"), is("False", "ContainersNotInitialized"));
    })
    .await;
}

/// On 127.0.0.1 of the node, and only there, somebody listens.
#[tokio::test]
async fn probes_come_from_the_node() {
    const PORT: u16 = 18_090;
    in_world(async |world| {
        let nodes: Vec<String> = world.nodes().await.into_keys().collect();
        let listen = json!([{"args": ["agent", "server", "--port", PORT.to_string()]}]);
        let on_node = json!({"nodeName": nodes[0], "hostNetwork": true, "containers": listen});
        world.ready(world.agent("listener", on_node)).await;
        let probe =
            json!({"tcpSocket": {"host": "127.0.0.1", "port": PORT}, "periodSeconds": 1, "failureThreshold": 1});
        for (name, node) in [("near", &nodes[0]), ("far", &nodes[1])] {
            let probed = json!({"nodeName": node, "containers": [{"readinessProbe": probe}]});
            world.create::<Pod>(world.agent(name, probed)).await;
        }
        world.until("near", "is Ready by its node's listener", is_ready).await;
        let far = world.until("far", "runs", |pod: Option<&Pod>| phase(pod) == "Running").await;
        assert_eq!(condition(&far, "Ready"), is("False", "ContainersNotReady"), "its node has none");
    })
    .await;
}

#[tokio::test]
async fn liveness_restarts_a_container_and_readiness_does_not() {
    in_world(async |world| {
        let refused = json!({"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1});
        for (name, probe) in [("live", "livenessProbe"), ("ready", "readinessProbe")] {
            world.create::<Pod>(world.agent(name, json!({"containers": [{probe: refused}]}))).await;
        }
        let restarted = |pod: Option<&Pod>| {
            pod.and_then(|pod| container(pod, "agent")).is_some_and(|container| container.restart_count >= 1)
        };
        world.until("live", "is restarted", restarted).await;
        let ready = world.until("ready", "runs", |pod: Option<&Pod>| phase(pod) == "Running").await;
        assert_eq!((phase(Some(&ready)), container(&ready, "agent").unwrap().restart_count), ("Running", 0));
        assert!(!is_ready(Some(&ready)));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pod_terminates_and_its_name_can_be_used_again() {
    in_world(async |world| {
        let mut seen = BTreeSet::new();
        for round in 0..2 {
            let pod = world.ready(world.agent("web-0", json!({}))).await;
            assert!(seen.insert(pod.uid().unwrap()), "round {round}: another pod with the same name");
            let only = watcher::Config::default().fields("metadata.name=web-0");
            let mut events = watcher(world.api::<Pod>(), only).boxed();
            loop {
                if let watcher::Event::InitDone = events.try_next().await.unwrap().unwrap() {
                    break;
                }
            }
            let delete = DeleteParams::default().grace_period(3);
            let asked =
                world.api::<Pod>().delete("web-0", &delete).await.unwrap().left().expect("it has a grace period");
            assert_eq!(asked.metadata.deletion_grace_period_seconds, Some(3));
            let mut terminating = false;
            let ended = async {
                loop {
                    match events.try_next().await.unwrap().unwrap() {
                        watcher::Event::Apply(pod) => {
                            assert!(pod.metadata.deletion_timestamp.is_some(), "{:?}", pod.status);
                            terminating = true;
                        }
                        watcher::Event::Delete(_) => break,
                        _ => {}
                    }
                }
            };
            tokio::time::timeout(super::cluster::WITHIN, ended).await.expect("it goes");
            assert!(terminating, "it is seen to terminate");
        }
    })
    .await;
}
