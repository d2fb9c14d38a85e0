//! Keeping one container of a pod: its image, its start, its probes, its restarts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Worker;
use crate::enforcers;
use crate::kubelet::backoff::{BackOff, ENFORCER, Figures, KUBERNETES};
use crate::kubelet::container::{ContainerRun, Gate, Role, State, Terminated, Within};
use crate::kubelet::environment::{self, Placement};
use crate::kubelet::hooks::Hook;
use crate::kubelet::logs::ContainerLog;
use crate::kubelet::probe::Probes;
use crate::kubelet::registry::RunningPod;
use crate::kubelet::teardown::stop;
use crate::kubelet::{files, image};
use crate::namespaces::Root;
use crate::processes::{Exit, Process};

/// How long ErrImagePull is shown before ImagePullBackOff.
const PULL: Duration = Duration::from_secs(2);
/// Between attempts to resolve what a container is made of.
const RETRY: Duration = Duration::from_secs(2);
/// How long a log is read on after its container has ended, for what children still write.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a container must be stopped, and how long it may take.
struct Stop {
    why: String,
    grace: Duration,
}

impl Worker {
    /// Runs one container, again and again if its pod wants that; its last end.
    pub(super) async fn keep(&self, pod: &Arc<RunningPod>, index: usize) -> Terminated {
        let run = &pod.containers[index];
        let mut back_off = BackOff::new(self.figures());
        run.record().state = State::waiting("ContainerCreating");
        loop {
            self.image(pod, index).await;
            let within = self.within(pod, index).await;
            let started = Timestamp::now();
            let end = match self.start(pod, index, within).await {
                Ok(process) => Terminated::of(self.until_end(pod, index, process).await, started),
                Err(message) => {
                    self.kubelet.recorder.warning(&pod.about(Some(index)), "Failed", format!("Error: {message}"));
                    let exit = Exit { code: 128, signal: None };
                    Terminated { reason: "StartError", message, ..Terminated::of(exit, started) }
                }
            };
            run.conclude(end.clone());
            self.changed.notify_one();
            if !self.again(run.role, end.exit.code) {
                return end;
            }
            let wait = back_off.after(end.finished.duration_since(started).unsigned_abs());
            if !wait.is_zero() {
                let message =
                    format!("back-off {wait:?} restarting failed container={} pod={}", run.spec.name, pod.name);
                self.kubelet.recorder.warning(&pod.about(Some(index)), "BackOff", message.clone());
                {
                    let mut record = run.record();
                    record.last = Some(end.clone());
                    record.state = State::Waiting { reason: "CrashLoopBackOff", message };
                }
                self.changed.notify_one();
                tokio::time::sleep(wait).await;
            }
            {
                let mut record = run.record();
                record.last = Some(end);
                record.restarts += 1;
            }
        }
    }

    fn figures(&self) -> Figures {
        let labels = self.pod.metadata.labels.as_ref();
        let enforcer = self.about.namespace == enforcers::NAMESPACE
            && labels.is_some_and(|labels| labels.contains_key(enforcers::LABEL));
        if enforcer { ENFORCER } else { KUBERNETES }
    }

    /// Whether a container that ended with `code` runs again.
    fn again(&self, role: Role, code: i32) -> bool {
        let policy = self.spec().restart_policy.as_deref().unwrap_or("Always");
        match role {
            Role::Sidecar => true,
            Role::Init => policy != "Never" && code != 0,
            Role::Main => policy == "Always" || policy == "OnFailure" && code != 0,
        }
    }

    /// Waits until the lab has the container's image, which may be changed while it waits.
    async fn image(&self, pod: &RunningPod, index: usize) {
        let run = &pod.containers[index];
        let mut latest = self.latest.clone();
        let mut back_off = BackOff::new(KUBERNETES);
        let about = pod.about(Some(index));
        let recorder = &self.kubelet.recorder;
        let wait = |reason, message: &str| {
            run.record().state = State::Waiting { reason, message: message.to_owned() };
            self.changed.notify_one();
        };
        loop {
            let image = image::declared(&latest.borrow_and_update(), &run.spec.name);
            if image::is_present(&image) {
                let message = format!("Container image {image:?} already present on machine");
                recorder.normal(&about, "Pulled", message);
                return;
            }
            let changed = async {
                // The sender goes with the pod.
                let _ = latest.wait_for(|pod| image::declared(pod, &run.spec.name) != image).await;
            };
            let message = image::missing(&image);
            if run.spec.image_pull_policy.as_deref() == Some("Never") {
                recorder.warning(&about, "ErrImageNeverPull", message.clone());
                wait("ErrImageNeverPull", &message);
                changed.await;
                continue;
            }
            recorder.normal(&about, "Pulling", format!("Pulling image {image:?}"));
            recorder.warning(&about, "Failed", format!("Failed to pull image {image:?}: {message}"));
            recorder.warning(&about, "Failed", "Error: ErrImagePull");
            wait("ErrImagePull", &message);
            let pause = back_off.after(Duration::ZERO).max(KUBERNETES.first);
            tokio::pin!(changed);
            tokio::select! {
                () = &mut changed => continue,
                () = tokio::time::sleep(PULL) => {}
            }
            recorder.normal(&about, "BackOff", format!("Back-off pulling image {image:?}"));
            recorder.warning(&about, "Failed", "Error: ImagePullBackOff");
            wait("ImagePullBackOff", &format!("Back-off pulling image {image:?}: ErrImagePull: {message}"));
            tokio::select! {
                () = &mut changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Resolves the container's variables and files; waits as long as something that it names is not there.
    async fn within(&self, pod: &RunningPod, index: usize) -> Arc<Within> {
        let run = &pod.containers[index];
        let placement = Placement::new(&self.kubelet.net.addresses, &self.addresses());
        loop {
            let message = match environment::resolve(&self.kubelet.store, &self.pod, &run.spec, &placement) {
                Ok(variables) => match self.root(run).await {
                    Ok(root) => return Arc::new(Within { variables, root }),
                    Err(message) => message,
                },
                Err(message) => message,
            };
            self.kubelet.recorder.warning(&pod.about(Some(index)), "Failed", format!("Error: {message}"));
            run.record().state = State::Waiting { reason: "CreateContainerConfigError", message };
            self.changed.notify_one();
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The files that a container sees; `None` if it mounts nothing.
    async fn root(&self, run: &ContainerRun) -> Result<Option<Root>, String> {
        let Some(files) = self.files.get() else { return Ok(None) };
        let mounts = files.mounts(&self.pod, &run.spec)?;
        if mounts.is_empty() {
            return Ok(None);
        }
        let at = files.root(&run.spec.name).map_err(|error| format!("cannot make a container's root: {error}"))?;
        let building = tokio::task::spawn_blocking(move || files::build(&at, &mounts));
        let built = building.await.map_err(|error| error.to_string())?;
        built.map(Some).map_err(|error| error.to_string())
    }

    /// Starts a container's process, unless the pod is being torn down.
    async fn start(&self, pod: &Arc<RunningPod>, index: usize, within: Arc<Within>) -> Result<Process, String> {
        let owner = pod.clone();
        let started = tokio::task::spawn_blocking(move || {
            let (pod, run) = (&owner, &owner.containers[index]);
            let line = run.command_line(&within);
            let failed = |error: std::io::Error| format!("cannot start {line:?}: {error}");
            let made = run.program_with_output(&line, &within, &pod.surroundings);
            let (program, confinement, output) = made.map_err(failed)?;
            let mut record = run.record();
            if record.gate != Gate::Open {
                return Err("the pod is being deleted".to_owned());
            }
            let process = pod.processes.spawn(program, &confinement, &pod.netns).map_err(failed)?;
            pod.sessions().insert(process.pid);
            let log = ContainerLog::new();
            record.previous_log = record.log.replace(log.clone());
            record.process = Some(process.clone());
            record.within = within;
            record.state = State::Running { since: Timestamp::now() };
            record.ready = run.spec.readiness_probe.is_none() && run.spec.startup_probe.is_none();
            drop(record);
            if run.spec.startup_probe.is_none() {
                run.started.send_replace(true);
            }
            Ok((log, output, process))
        });
        let (log, output, process) = started.await.map_err(|error| error.to_string())??;
        let mut ended = process.clone();
        tokio::spawn(async move {
            let filling = log.clone().fill(output.into());
            tokio::pin!(filling);
            tokio::select! {
                _ = &mut filling => {}
                _ = ended.ended() => { let _ = tokio::time::timeout(LAST_WORDS, filling).await; }
            }
            ended.ended().await;
            log.close();
        });
        let about = pod.about(Some(index));
        let name = &pod.containers[index].spec.name;
        self.kubelet.recorder.normal(&about, "Created", format!("Created container: {name}"));
        self.kubelet.recorder.normal(&about, "Started", format!("Started container {name}"));
        self.changed.notify_one();
        Ok(process)
    }

    /// Waits for the end of a container's process, and brings it about if a probe or a hook wants it.
    async fn until_end(&self, pod: &Arc<RunningPod>, index: usize, mut process: Process) -> Exit {
        let mut watched = process.clone();
        let order = tokio::select! {
            exit = process.ended() => return exit,
            order = self.supervise(pod, index) => order,
        };
        let name = &pod.containers[index].spec.name;
        let message = format!("Container {name} {}, will be restarted", order.why);
        self.kubelet.recorder.normal(&pod.about(Some(index)), "Killing", message);
        stop(pod, index, order.grace).await;
        watched.ended().await
    }

    /// Runs the postStart hook and the probes of a container that runs, until one of them wants its end.
    async fn supervise(&self, pod: &Arc<RunningPod>, index: usize) -> Stop {
        let run = &pod.containers[index];
        let name = &run.spec.name;
        let order = |why: String, grace: Option<Duration>| Stop { why, grace: grace.unwrap_or_else(|| self.grace()) };
        // What it asks for was understood when the pod was admitted.
        let (Ok((hook, _)), Ok(probes)) = (Hook::of(&run.spec), Probes::of(&run.spec)) else {
            return std::future::pending().await;
        };
        if let Some(hook) = hook
            && let Err(problem) = hook.run(pod, index).await
        {
            let message = format!("PostStartHook failed: {problem}");
            self.kubelet.recorder.warning(&pod.about(Some(index)), "FailedPostStartHook", message);
            return order("failed its postStart hook".into(), None);
        }
        if let Some(startup) = &probes.startup {
            if !startup.until_decided(pod, index).await {
                return order("failed startup probe".into(), startup.grace);
            }
            run.record().ready = probes.readiness.is_none();
            run.started.send_replace(true);
            self.changed.notify_one();
        }
        let readiness = async {
            match &probes.readiness {
                Some(readiness) => {
                    let changed = |ready| {
                        tracing::debug!(pod = pod.name, container = name, ready, "readiness");
                        run.record().ready = ready;
                        self.changed.notify_one();
                    };
                    readiness.follow(pod, index, changed).await;
                }
                None => std::future::pending().await,
            }
        };
        let liveness = async {
            match &probes.liveness {
                Some(liveness) => {
                    liveness.until_failed(pod, index).await;
                    liveness.grace
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            grace = liveness => order("failed liveness probe".into(), grace),
            () = readiness => std::future::pending().await,
        }
    }
}
