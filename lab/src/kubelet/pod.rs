//! The life of one pod on its node, from its binding to its removal.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};

use super::container::{ContainerRun, State, Surroundings, Terminated};
use super::environment::{self, Placement};
use super::logs::ContainerLog;
use super::probe::Readiness;
use super::registry::RunningPod;
use super::status::{Facts, status};
use super::teardown::tear_down;
use super::unsupported::unsupported;
use super::{Kubelet, Order, image};
use crate::api::resources::POD;
use crate::api::{DeleteOptions, Part};
use crate::net::pod::PodNet;
use crate::processes::Exit;

/// Wait before the second restart of a container; the first is immediate, each later wait is twice as long.
const BACK_OFF: Duration = Duration::from_millis(500);
/// Longest wait before a restart.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// A container that ran so long has recovered: its next wait is the shortest again.
const RECOVERED: Duration = Duration::from_secs(60);
/// Between ErrImagePull and ImagePullBackOff.
const PULL: Duration = Duration::from_secs(2);
/// Between attempts to make a pod's network.
const RETRY: Duration = Duration::from_secs(1);
/// How long a log is read on after its container has ended, for what children still write.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a pod until it is removed.
pub(super) async fn run(kubelet: Arc<Kubelet>, pod: Pod, mut orders: watch::Receiver<Order>) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let worker =
        Worker { kubelet, pod, started: Timestamp::now(), changed: Notify::new(), running: watch::channel(None).0 };
    let order = tokio::select! {
        biased;
        order = orders.wait_for(|order| *order != Order::Run) => order.map_or(Order::Kill, |order| *order),
        never = worker.live() => match never {},
    };
    if let Some(running) = worker.running.send_replace(None) {
        let end = tear_down(running.clone(), if let Order::Terminate(grace) = order { grace } else { Duration::ZERO });
        tokio::pin!(end);
        // A shorter grace period, or removal by force, overtakes a longer one.
        loop {
            tokio::select! {
                () = &mut end => break,
                changed = orders.changed() => {
                    let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::Kill };
                    match order {
                        Order::Run => {}
                        Order::Terminate(grace) => end.set(tear_down(running.clone(), grace)),
                        Order::Kill => {
                            tear_down(running.clone(), Duration::ZERO).await;
                            break;
                        }
                    }
                }
            }
        }
        worker.kubelet.registry.remove(&running);
    }
    if *orders.borrow() != Order::Kill {
        let (namespace, name) = worker.key();
        if let Err(status) = worker.kubelet.store.delete(POD, namespace, name, &DeleteOptions::now(&uid)) {
            tracing::debug!(namespace, name, message = status.message, "the pod was removed by somebody else");
        }
    }
}

struct Worker {
    kubelet: Arc<Kubelet>,
    pod: Pod,
    started: Timestamp,
    /// A container's record has changed.
    changed: Notify,
    running: watch::Sender<Option<Arc<RunningPod>>>,
}

impl Worker {
    fn key(&self) -> (&str, &str) {
        let metadata = &self.pod.metadata;
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }

    async fn live(&self) -> std::convert::Infallible {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let wait = |reason, message: String| {
            spec.containers
                .iter()
                .map(|c| {
                    ContainerRun::new(
                        c.clone(),
                        Default::default(),
                        State::Waiting { reason, message: message.clone() },
                    )
                })
                .collect::<Vec<_>>()
        };
        if let Some(missing) = spec.containers.iter().filter_map(|c| c.image.as_deref()).find(|i| !image::is_present(i))
        {
            let message = image::missing(missing);
            self.publish(&wait("ErrImagePull", message.clone()), None, false);
            tokio::time::sleep(PULL).await;
            return self.rest(&wait("ImagePullBackOff", message)).await;
        }
        if let Some(message) = unsupported(&spec) {
            return self.rest(&wait("CreateContainerConfigError", message)).await;
        }
        let host_network = spec.host_network == Some(true);
        if !host_network {
            let mut ready = self.kubelet.ready.clone();
            if !*ready.borrow() {
                self.publish(&wait("ContainerCreating", "the node is not Ready".into()), None, false);
            }
            // The sender lives as long as the lab.
            let _ = ready.wait_for(|ready| *ready).await;
        }
        let own = if host_network { None } else { Some(self.network(&wait).await) };
        let address = own.as_ref().map_or(self.kubelet.net.address, |own| own.address);
        match self.containers(address) {
            Ok(containers) => self.run_in(own, containers, address).await,
            Err(message) => self.rest(&wait("CreateContainerConfigError", message)).await,
        }
    }

    /// Publishes a status that only the pod's deletion can change.
    async fn rest(&self, containers: &[ContainerRun]) -> std::convert::Infallible {
        self.publish(containers, None, false);
        std::future::pending().await
    }

    async fn network(&self, wait: &impl Fn(&'static str, String) -> Vec<ContainerRun>) -> PodNet {
        loop {
            let net = self.kubelet.net.clone();
            let message = match tokio::task::spawn_blocking(move || PodNet::create(&net)).await {
                Ok(Ok(own)) => return own,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(pod = self.key().1, message, "cannot make a pod's network");
            self.publish(&wait("ContainerCreating", format!("cannot make the pod's network: {message}")), None, false);
            tokio::time::sleep(RETRY).await;
        }
    }

    fn containers(&self, address: IpAddr) -> Result<Vec<ContainerRun>, String> {
        let placement = Placement { host_ip: self.kubelet.net.address.to_string(), pod_ip: address.to_string() };
        let creating = || State::Waiting { reason: "ContainerCreating", message: String::new() };
        let declared = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        declared
            .map(|c| Ok(ContainerRun::new(c.clone(), environment::resolve(&self.pod, c, &placement)?, creating())))
            .collect()
    }

    /// Runs the containers in a network that stands.
    async fn run_in(
        &self,
        own: Option<PodNet>,
        containers: Vec<ContainerRun>,
        address: IpAddr,
    ) -> std::convert::Infallible {
        let (namespace, name) = self.key();
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        let running = Arc::new(RunningPod::new(
            (namespace.to_owned(), name.to_owned(), uid),
            own.as_ref().map_or(&self.kubelet.net.netns, |own| &own.netns).clone(),
            own,
            containers,
            Surroundings::new(name, self.kubelet.run.as_str(), &self.kubelet.bin),
            self.kubelet.processes.clone(),
        ));
        self.running.send_replace(Some(running.clone()));
        self.kubelet.registry.insert(&running);
        let all = join_all((0..running.containers.len()).map(|index| self.container(&running, index, address)));
        let publishing = async {
            loop {
                self.changed.notified().await;
                let starting =
                    |c: &ContainerRun| matches!(&c.record().state, State::Waiting { reason: "ContainerCreating", .. });
                // Containers start within a millisecond of each other: one status for all of them.
                if !running.containers.iter().any(starting) {
                    self.publish(&running.containers, Some(address), false);
                }
            }
        };
        tokio::select! {
            _ = all => {}
            () = publishing => {}
        }
        // Finished for good: the network goes (P16) and the object stays.
        tear_down(running.clone(), Duration::ZERO).await;
        self.publish(&running.containers, Some(address), true);
        std::future::pending().await
    }

    /// Runs one container, again and again if its pod wants that.
    async fn container(&self, pod: &Arc<RunningPod>, index: usize, address: IpAddr) {
        let run = &pod.containers[index];
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        let mut wait = Duration::ZERO;
        loop {
            let started = Timestamp::now();
            let end = match self.start(pod, index).await {
                Ok(()) => self.until_end(run, address, started).await,
                Err(message) => Terminated {
                    exit: Exit { code: 128, signal: None },
                    started,
                    finished: Timestamp::now(),
                    reason: "StartError",
                    message,
                },
            };
            let again = policy == "Always" || policy == "OnFailure" && end.exit.code != 0;
            let ran = end.finished.duration_since(started).unsigned_abs();
            {
                let mut record = run.record();
                (record.ready, record.state) = (false, State::Terminated(end.clone()));
            }
            self.changed.notify_one();
            if !again {
                return;
            }
            if ran > RECOVERED {
                wait = Duration::ZERO;
            }
            if !wait.is_zero() {
                let message = format!("back-off {wait:?} restarting failed container={}", run.spec.name);
                {
                    let mut record = run.record();
                    record.last = Some(end.clone());
                    record.state = State::Waiting { reason: "CrashLoopBackOff", message };
                }
                self.changed.notify_one();
                tokio::time::sleep(wait).await;
            }
            wait = (wait * 2).clamp(BACK_OFF, LONGEST_BACK_OFF);
            {
                let mut record = run.record();
                record.last = Some(end);
                record.restarts += 1;
            }
        }
    }

    /// Starts a container's process, unless the pod is being torn down.
    async fn start(&self, pod: &Arc<RunningPod>, index: usize) -> Result<(), String> {
        let pod = pod.clone();
        let unready = pod.containers[index].spec.readiness_probe.is_some();
        let started = tokio::task::spawn_blocking(move || {
            let run = &pod.containers[index];
            let line = run.command_line();
            let failed = |error: std::io::Error| format!("cannot start {line:?}: {error}");
            let (command, output) = run.main_command(&pod.surroundings).map_err(failed)?;
            let mut record = run.record();
            if record.closed {
                return Err("the pod is being deleted".to_owned());
            }
            let process = pod.processes.spawn(command, &pod.netns, None).map_err(failed)?;
            pod.sessions().insert(process.pid);
            let log = ContainerLog::new();
            record.previous_log = record.log.replace(log.clone());
            record.process = Some(process.clone());
            record.state = State::Running { since: Timestamp::now() };
            record.ready = !unready;
            Ok((log, output, process))
        });
        let (log, output, mut process) = started.await.map_err(|error| error.to_string())??;
        tokio::spawn(async move {
            let filling = log.clone().fill(output.into());
            tokio::pin!(filling);
            tokio::select! {
                _ = &mut filling => {}
                _ = process.ended() => { let _ = tokio::time::timeout(LAST_WORDS, filling).await; }
            }
            process.ended().await;
            log.close();
        });
        self.changed.notify_one();
        Ok(())
    }

    async fn until_end(&self, run: &ContainerRun, address: IpAddr, started: Timestamp) -> Terminated {
        let process = run.record().process.clone();
        let probing = async {
            match Readiness::of(&run.spec, address) {
                Ok(Some(probe)) => {
                    let changed = |ready| {
                        run.record().ready = ready;
                        self.changed.notify_one();
                    };
                    probe.watch(&self.kubelet.net.netns, changed).await;
                }
                Ok(None) => std::future::pending().await,
                Err(message) => {
                    tracing::warn!(pod = self.key().1, container = run.spec.name, message, "never Ready");
                    std::future::pending().await
                }
            }
        };
        let ended = async {
            match process {
                Some(mut process) => process.ended().await,
                None => Exit { code: 255, signal: None },
            }
        };
        let exit = tokio::select! {
            exit = ended => exit,
            () = probing => Exit { code: 255, signal: None },
        };
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        Terminated { exit, started, finished: Timestamp::now(), reason, message: String::new() }
    }

    /// Writes the pod's status.
    fn publish(&self, containers: &[ContainerRun], address: Option<IpAddr>, finished: bool) {
        let (namespace, name) = self.key();
        let running = self.running.borrow().clone();
        let sandbox = running
            .is_some_and(|pod| pod.host_network || pod.own.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        let facts = Facts {
            host_ip: self.kubelet.net.address.to_string(),
            pod_ip: address.map(|address| address.to_string()),
            since: Some(self.started),
            sandbox,
            finished,
        };
        let written = self.kubelet.store.modify(POD, namespace, name, Part::Status, |pod| {
            // Another pod may have the name by now.
            if pod["metadata"]["uid"].as_str() == self.pod.metadata.uid.as_deref() {
                let next = status(&facts, containers, &pod["status"]);
                pod["status"] = serde_json::to_value(next).unwrap_or_default();
            }
            Ok(())
        });
        if let Err(status) = written {
            tracing::debug!(namespace, name, message = status.message, "a pod's status was not taken");
        }
    }
}
