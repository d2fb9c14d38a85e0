//! Lifecycle hooks: what a container does after its start and before its end.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::probe::{Action, Attempt};
use super::registry::RunningPod;

/// How long a request of a hook may take; Kubernetes gives a postStart hook no limit at all.
const LONGEST: Duration = Duration::from_secs(600);

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    Act(Action),
    Sleep(Duration),
}

impl Hook {
    /// The hooks of a container: after its start, and before its end.
    ///
    /// # Errors
    /// A sentence about what the lab cannot do.
    pub(super) fn of(container: &Container) -> Result<(Option<Hook>, Option<Hook>), String> {
        let lifecycle = container.lifecycle.as_ref();
        if lifecycle.is_some_and(|lifecycle| lifecycle.stop_signal.is_some()) {
            return Err(format!("container {}: lifecycle.stopSignal is not supported by the lab", container.name));
        }
        let read = |field: &str, handler: Option<&LifecycleHandler>| {
            handler
                .map(|handler| Hook::read(handler, container))
                .transpose()
                .map_err(|problem| format!("container {}: lifecycle.{field}: {problem}", container.name))
        };
        let after = read("postStart", lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()))?;
        Ok((after, read("preStop", lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()))?))
    }

    fn read(handler: &LifecycleHandler, container: &Container) -> Result<Hook, String> {
        if let Some(sleep) = &handler.sleep {
            return Ok(Hook::Sleep(Duration::from_secs(sleep.seconds.try_into().unwrap_or(0))));
        }
        Action::of(&handler.http_get, &handler.tcp_socket, &handler.exec, container).map(Hook::Act)
    }

    /// Runs it.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) async fn run(&self, pod: &Arc<RunningPod>, container: usize) -> Result<(), String> {
        match self {
            Hook::Sleep(duration) => {
                tokio::time::sleep(*duration).await;
                Ok(())
            }
            Hook::Act(action) => {
                action.run(&Attempt { pod, container, agent: "kube-lifecycle/netpol-lab", timeout: LONGEST }).await
            }
        }
    }
}
