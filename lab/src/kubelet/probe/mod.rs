//! Startup, liveness and readiness probes of one container, sent from the node as the kubelet does.

mod action;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};

pub(super) use action::{Action, Attempt};

use super::registry::RunningPod;

/// How often a container that has never been ready is asked at first. Kubernetes may ask such a container at other
/// times than every `periodSeconds`, too; the lab is made for short runs.
const EAGER: Duration = Duration::from_millis(15);
/// So often it is asked at that pace; then each pause is twice as long, up to the period.
const EAGER_ATTEMPTS: u32 = 40;

/// A probe with its defaults filled in.
#[derive(Debug, Clone)]
pub(super) struct Prober {
    /// `Readiness` and so on, as events name it.
    kind: &'static str,
    action: Action,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: i32,
    successes: i32,
    /// The grace period after it has failed, if it has one of its own.
    pub(super) grace: Option<Duration>,
}

/// The probes of a container.
#[derive(Debug, Clone)]
pub(super) struct Probes {
    pub(super) startup: Option<Prober>,
    pub(super) liveness: Option<Prober>,
    pub(super) readiness: Option<Prober>,
}

impl Probes {
    /// Reads the probes of a container.
    ///
    /// # Errors
    /// A sentence about what the lab cannot do.
    pub(super) fn of(container: &Container) -> Result<Probes, String> {
        let read = |kind, field, probe: &Option<Probe>| {
            probe.as_ref().map(|probe| Prober::of(kind, field, probe, container)).transpose()
        };
        Ok(Probes {
            startup: read("Startup", "startupProbe", &container.startup_probe)?,
            liveness: read("Liveness", "livenessProbe", &container.liveness_probe)?,
            readiness: read("Readiness", "readinessProbe", &container.readiness_probe)?,
        })
    }
}

impl Prober {
    fn of(kind: &'static str, field: &str, probe: &Probe, container: &Container) -> Result<Prober, String> {
        let named = |problem: String| format!("container {}: {field}: {problem}", container.name);
        if probe.grpc.is_some() {
            return Err(named("grpc is not supported by the lab".into()));
        }
        let action = Action::of(&probe.http_get, &probe.tcp_socket, &probe.exec, container).map_err(named)?;
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|v| v.try_into().ok()).filter(|v| *v > 0).unwrap_or(default))
        };
        Ok(Prober {
            kind,
            action,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.filter(|n| *n > 0).unwrap_or(3),
            successes: probe.success_threshold.filter(|n| *n > 0).unwrap_or(1),
            grace: probe.termination_grace_period_seconds.and_then(|s| s.try_into().ok()).map(Duration::from_secs),
        })
    }

    /// Probes until the answer has passed often enough (`Ok`) or failed often enough.
    pub(super) async fn until_decided(&self, pod: &Arc<RunningPod>, container: usize) -> bool {
        let mut streaks = (0, 0);
        tokio::time::sleep(self.initial_delay).await;
        loop {
            streaks = match self.once(pod, container).await {
                Ok(()) => (streaks.0 + 1, 0),
                Err(problem) => {
                    self.complain(pod, container, &problem);
                    (0, streaks.1 + 1)
                }
            };
            if streaks.0 >= self.successes {
                return true;
            }
            if streaks.1 >= self.failures {
                return false;
            }
            tokio::time::sleep(self.period).await;
        }
    }

    /// Probes until it has failed often enough in a row.
    pub(super) async fn until_failed(&self, pod: &Arc<RunningPod>, container: usize) {
        let mut failures = 0;
        tokio::time::sleep(self.initial_delay).await;
        loop {
            match self.once(pod, container).await {
                Ok(()) => failures = 0,
                Err(problem) => {
                    self.complain(pod, container, &problem);
                    failures += 1;
                }
            }
            if failures >= self.failures {
                return;
            }
            tokio::time::sleep(self.period).await;
        }
    }

    /// Probes for ever, and says so whenever the answer has changed.
    pub(super) async fn follow(&self, pod: &Arc<RunningPod>, container: usize, mut changed: impl FnMut(bool)) {
        tokio::time::sleep(self.initial_delay).await;
        let (mut ready, mut ever, mut streak, mut attempts) = (false, false, 0, 0);
        let mut complained: Option<tokio::time::Instant> = None;
        loop {
            let result = self.once(pod, container).await;
            let passed = result.is_ok();
            if let Err(problem) = result
                && complained.is_none_or(|at| at.elapsed() >= self.period)
            {
                self.complain(pod, container, &problem);
                complained = Some(tokio::time::Instant::now());
            }
            streak = if passed == ready { 0 } else { streak + 1 };
            if streak >= if passed { self.successes } else { self.failures } {
                (ready, streak) = (passed, 0);
                ever |= ready;
                changed(ready);
            }
            attempts += 1;
            tokio::time::sleep(if ever { self.period } else { eager(attempts).min(self.period) }).await;
        }
    }

    async fn once(&self, pod: &Arc<RunningPod>, container: usize) -> Result<(), String> {
        let attempt = Attempt { pod, container, agent: "kube-probe/netpol-lab", timeout: self.timeout };
        self.action.run(&attempt).await
    }

    fn complain(&self, pod: &RunningPod, container: usize, problem: &str) {
        let about = pod.about(Some(container));
        pod.recorder.warning(&about, "Unhealthy", format!("{} probe failed: {problem}", self.kind));
    }
}

/// The pause after so many attempts of a container that has never been ready.
fn eager(attempts: u32) -> Duration {
    EAGER * 2u32.saturating_pow(attempts.saturating_sub(EAGER_ATTEMPTS).min(16))
}
