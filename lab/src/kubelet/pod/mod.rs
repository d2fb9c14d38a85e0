//! The life of one pod on its node, from its binding to its removal.

mod keep;
mod publish;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio::sync::{Notify, watch};

use super::container::{ContainerRun, Role, State, Surroundings};
use super::environment::Placement;
use super::files::{PodFiles, Source};
use super::registry::RunningPod;
use super::teardown::{stop, tear_down};
use super::unsupported::unsupported;
use super::{Kubelet, Order};
use crate::api::DeleteOptions;
use crate::api::resources::POD;
use crate::events::About;
use crate::net::pod::PodNet;
use crate::services;

/// Between attempts to make a pod's network.
const RETRY: Duration = Duration::from_secs(1);

/// Runs a pod until it is removed. `latest` is the pod as it was last seen.
pub(super) async fn run(
    kubelet: Arc<Kubelet>,
    pod: Pod,
    latest: watch::Receiver<Arc<Pod>>,
    mut orders: watch::Receiver<Order>,
) {
    let worker = Worker::new(kubelet, pod, latest);
    let order = tokio::select! {
        biased;
        order = orders.wait_for(|order| *order != Order::Run) => order.map_or(Order::Kill, |order| *order),
        never = worker.live() => match never {},
    };
    worker.end(order, &mut orders).await;
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its network and its files are being made.
    Preparing,
    /// Its init containers run.
    Initializing,
    Running,
    /// Its containers have ended for good.
    Finished,
}

struct Worker {
    kubelet: Arc<Kubelet>,
    pod: Pod,
    latest: watch::Receiver<Arc<Pod>>,
    about: About,
    started: Timestamp,
    containers: Arc<[ContainerRun]>,
    stage: Mutex<Stage>,
    /// Whether its init containers have done their work; a pod can finish without.
    initialized: AtomicBool,
    /// Why the pod failed as a whole, as reason and message.
    failure: OnceLock<(&'static str, String)>,
    /// A container's record, or the stage, has changed.
    changed: Notify,
    running: OnceLock<Arc<RunningPod>>,
    files: OnceLock<PodFiles>,
}

impl Worker {
    fn new(kubelet: Arc<Kubelet>, pod: Pod, latest: watch::Receiver<Arc<Pod>>) -> Worker {
        let metadata = &pod.metadata;
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        let about = About {
            namespace: own(&metadata.namespace),
            name: own(&metadata.name),
            uid: own(&metadata.uid),
            field_path: String::new(),
        };
        let spec = pod.spec.clone().unwrap_or_default();
        let role =
            |c: &Container| if c.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
        let init = spec.init_containers.into_iter().flatten().map(|c| (role(&c), c));
        let has_init = init.clone().next().is_some();
        let waiting = || State::waiting(if has_init { "PodInitializing" } else { "ContainerCreating" });
        let all = init.chain(spec.containers.into_iter().map(|c| (Role::Main, c)));
        let containers = all.map(|(role, spec)| ContainerRun::new(spec, role, waiting())).collect();
        Worker {
            kubelet,
            pod,
            latest,
            about,
            started: Timestamp::now(),
            containers,
            stage: Mutex::new(Stage::Preparing),
            initialized: AtomicBool::new(false),
            failure: OnceLock::new(),
            changed: Notify::new(),
            running: OnceLock::new(),
            files: OnceLock::new(),
        }
    }

    fn spec(&self) -> &PodSpec {
        static NONE: OnceLock<PodSpec> = OnceLock::new();
        self.pod.spec.as_ref().unwrap_or_else(|| NONE.get_or_init(PodSpec::default))
    }

    async fn live(&self) -> Infallible {
        self.publish();
        if let Some(message) = unsupported(self.spec()) {
            self.kubelet.recorder.warning(&self.about, "Failed", message.clone());
            return self.rest(message).await;
        }
        self.fill_volumes().await;
        let host_network = self.spec().host_network == Some(true);
        if !host_network {
            let mut ready = self.kubelet.ready.clone();
            if !*ready.borrow() {
                self.wait("ContainerCreating", "the node is not Ready");
            }
            // The sender lives as long as the lab.
            let _ = ready.wait_for(|ready| *ready).await;
        }
        let own = if host_network { None } else { Some(self.network().await) };
        let addresses = own.as_ref().map_or(&self.kubelet.net.addresses, |own| &own.addresses).clone();
        let address = own.as_ref().map_or(self.kubelet.net.address, |own| own.address);
        let running = Arc::new(RunningPod {
            namespace: self.about.namespace.clone(),
            name: self.about.name.clone(),
            uid: self.about.uid.clone(),
            netns: own.as_ref().map_or(&self.kubelet.net.netns, |own| &own.netns).clone(),
            own: Mutex::new(own),
            host_network,
            address,
            addresses,
            node: self.kubelet.net.clone(),
            containers: self.containers.clone(),
            surroundings: Surroundings::new(
                &self.about.name,
                self.kubelet.run.as_str(),
                &self.kubelet.bin,
                self.services(),
            ),
            processes: self.kubelet.processes.clone(),
            recorder: self.kubelet.recorder.clone(),
            sessions: Mutex::default(),
        });
        let running = self.running.get_or_init(|| running);
        self.kubelet.registry.insert(running);
        tokio::select! {
            () = self.to_its_end(running) => {}
            () = self.keep_published() => {}
        }
        // Finished for good: the network goes (P16); the object stays, with the address that it had.
        tear_down(running.clone(), Duration::ZERO).await;
        self.enter(Stage::Finished);
        self.publish();
        std::future::pending().await
    }

    /// Makes the pod's files; waits as long as something that they are made of is not there.
    async fn fill_volumes(&self) {
        let placement = Placement::new(&self.kubelet.net.addresses, &[]);
        let kubelet = &self.kubelet;
        let source = Source { store: &kubelet.store, pod: &self.pod, placement: &placement, account: &kubelet.account };
        loop {
            let made = match self.files.get() {
                Some(files) => Ok(files),
                None => PodFiles::create(&kubelet.files, &self.about.uid)
                    .map(|files| self.files.get_or_init(|| files))
                    .map_err(|error| format!("cannot make a directory in {}: {error}", kubelet.files.display())),
            };
            let Err(message) = made.and_then(|files| files.fill(&source, &self.pod)) else { return };
            kubelet.recorder.warning(&self.about, "FailedMount", message.clone());
            self.wait("ContainerCreating", &message);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits for the pod's deletion, which alone can help.
    async fn rest(&self, message: String) -> Infallible {
        self.wait("CreateContainerConfigError", &message);
        std::future::pending().await
    }

    /// Lets every container wait for a reason.
    fn wait(&self, reason: &'static str, message: &str) {
        for run in self.containers.iter() {
            run.record().state = State::Waiting { reason, message: message.to_owned() };
        }
        self.publish();
    }

    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stage;
        self.changed.notify_one();
    }

    fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The pod's addresses, once it has them.
    fn addresses(&self) -> Vec<IpAddr> {
        self.running.get().map(|running| running.addresses.clone()).unwrap_or_default()
    }

    /// Whether the pod wants the address that was freed last.
    fn reuses_address(&self) -> bool {
        let annotations = self.pod.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get("netpol.dev/reuse-address")).is_some_and(|value| value == "true")
    }

    /// The variables of Services.
    fn services(&self) -> BTreeMap<String, String> {
        let links = self.spec().enable_service_links != Some(false);
        services::variables(&self.kubelet.store, &self.about.namespace, links)
    }

    async fn network(&self) -> PodNet {
        loop {
            let net = self.kubelet.net.clone();
            let reuse = self.reuses_address();
            let sysctls = super::sysctls::of(self.spec());
            let made = tokio::task::spawn_blocking(move || {
                let own = PodNet::create(&net, reuse)?;
                super::sysctls::write(&own.netns, &sysctls)?;
                Ok::<_, std::io::Error>(own)
            });
            let message = match made.await {
                Ok(Ok(own)) => return own,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let message = format!("cannot make the pod's network: {message}");
            self.kubelet.recorder.warning(&self.about, "FailedCreatePodSandBox", message.clone());
            self.wait("ContainerCreating", &message);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Runs the containers until they have ended for good.
    async fn to_its_end(&self, pod: &Arc<RunningPod>) {
        let of = |role| (0..pod.containers.len()).filter(move |index| pod.containers[*index].role == role);
        let go: Vec<Notify> = pod.containers.iter().map(|_| Notify::new()).collect();
        let go = &go;
        let sidecars = join_all(of(Role::Sidecar).map(|index| async move {
            go[index].notified().await;
            self.keep(pod, index).await;
        }));
        let main = async {
            self.enter(Stage::Initializing);
            for (index, run) in pod.containers.iter().enumerate() {
                match run.role {
                    Role::Init => {
                        if self.keep(pod, index).await.exit.code != 0 {
                            return;
                        }
                    }
                    Role::Sidecar => {
                        go[index].notify_one();
                        // The sender is in the container.
                        let _ = run.started.subscribe().wait_for(|started| *started).await;
                    }
                    Role::Main => {}
                }
            }
            self.initialized.store(true, Ordering::Relaxed);
            self.enter(Stage::Running);
            join_all(of(Role::Main).map(|index| self.keep(pod, index))).await;
        };
        let deadline = async {
            match self.spec().active_deadline_seconds.and_then(|seconds| seconds.try_into().ok()) {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let never = async {
            sidecars.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = main => {
                let grace = self.grace();
                for index in of(Role::Sidecar).collect::<Vec<_>>().into_iter().rev() {
                    pod.containers[index].record().gate = super::container::Gate::Ending;
                    stop(pod, index, grace).await;
                }
            }
            () = never => {}
            () = deadline => {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.kubelet.recorder.normal(&self.about, "DeadlineExceeded", message.clone());
                let _ = self.failure.set(("DeadlineExceeded", message));
                tear_down(pod.clone(), self.grace()).await;
            }
        }
    }

    /// The pod's own grace period.
    fn grace(&self) -> Duration {
        let seconds = self.spec().termination_grace_period_seconds;
        Duration::from_secs(seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or(30))
    }

    /// Ends the pod as ordered, and removes its object unless that is gone already.
    async fn end(&self, order: Order, orders: &mut watch::Receiver<Order>) {
        if let Some(running) = self.running.get() {
            if self.stage() != Stage::Finished {
                for (index, run) in running.containers.iter().enumerate() {
                    if run.record().process.as_ref().is_some_and(|process| !process.has_ended()) {
                        let message = format!("Stopping container {}", run.spec.name);
                        self.kubelet.recorder.normal(&running.about(Some(index)), "Killing", message);
                    }
                }
            }
            let grace = |order| if let Order::Terminate(grace) = order { grace } else { Duration::ZERO };
            let end = tear_down(running.clone(), grace(order));
            tokio::pin!(end);
            // A shorter grace period, or removal by force, overtakes a longer one.
            loop {
                tokio::select! {
                    () = &mut end => break,
                    changed = orders.changed() => {
                        let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::Kill };
                        if order != Order::Run {
                            end.set(tear_down(running.clone(), grace(order)));
                        }
                        if changed.is_err() {
                            (&mut end).await;
                            break;
                        }
                    }
                }
            }
            self.kubelet.registry.remove(running);
        }
        if *orders.borrow() != Order::Kill {
            self.enter(Stage::Finished);
            self.publish();
            let (namespace, name) = (&self.about.namespace, &self.about.name);
            if let Err(status) = self.kubelet.store.delete(POD, namespace, name, &DeleteOptions::now(&self.about.uid)) {
                tracing::debug!(namespace, name, message = status.message, "the pod was removed by somebody else");
            }
        }
    }
}
