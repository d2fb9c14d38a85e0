//! Why an agent gave no answers.

use std::time::Duration;

use netpol_wire::VERSION;
use thiserror::Error;

/// Why an agent could not answer.
#[derive(Debug, Clone, Error)]
pub enum SessionError {
    /// The stream could not be opened, or broke and did not come back within [`AGENT_RECONNECTS`](crate::waits::AGENT_RECONNECTS).
    #[error(
        "pods/exec of 'netpol agent attach' in pod {pod} failed: {cause}; try: kubectl exec -n {namespace} {pod} -- netpol agent attach </dev/null"
    )]
    Unreachable {
        /// The pod's namespace.
        namespace: String,
        /// The pod.
        pod: String,
        /// What the last attempt said.
        cause: String,
    },
    /// The agent was restarted: what it knew of this call is lost.
    #[error(
        "the agent of pod {pod} was restarted while it was being asked; look at: kubectl describe pod -n {namespace} {pod}"
    )]
    Restarted {
        /// The pod's namespace.
        namespace: String,
        /// The pod.
        pod: String,
    },
    /// The agent did not answer in time.
    #[error("the agent of pod {pod} gave no answer within {} s", limit.as_secs_f32())]
    Silent {
        /// The pod.
        pod: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The agent refused the call.
    #[error("the agent of pod {pod} could not do what it was asked: {why}")]
    Refused {
        /// The pod.
        pod: String,
        /// The agent's words.
        why: String,
    },
    /// The agent speaks another protocol version.
    #[error(
        "the agent of pod {pod} speaks wire version {theirs}, this netpol speaks {VERSION}: use the image of the same version"
    )]
    Version {
        /// The pod.
        pod: String,
        /// Its version.
        theirs: u32,
    },
}
