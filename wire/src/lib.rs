//! Types of the probe protocol between the harness and the agent in a pod, version 2.
//!
//! JSON lines over the stream of `pods/exec` of `netpol agent attach`:
//!
//! ```text
//! ← {"hello":{"wire":2,"uid":"…"}}
//! → {"id":7,"probe":[{"n":"a1","proto":"tcp","to":"10.1.2.3","port":8888,"timeout_ms":250}]}
//! ← {"id":7,"result":{"n":"a1","got":"reply","rtt_us":412,"src_seen":"10.1.1.2","late_us":90}}
//! → {"id":8,"arrivals":["a1"]}
//! ← {"id":8,"arrived":[{"n":"a1","proto":"tcp","src":"10.1.1.2","port":8888,"packets":1}]}
//! → {"ack":7}
//! ```
//!
//! A call of k probes is answered by k result lines, when all have ended, in the order in which they did. What is not acknowledged is sent
//! again after a reconnect, behind the hello; a call whose id is already known is not carried out again. So a
//! client that repeats its unanswered calls loses nothing, and drops what it has already seen.

mod hold;
mod probe;
mod token;
mod watch;

use serde::{Deserialize, Serialize};

pub use hold::{Held, HeldState, Hold};
pub use probe::{Arrival, Got, Probe, ProbeResult, Proto};
pub use token::{InvalidToken, Token};
pub use watch::{Watch, Watched};

/// The version of the protocol that these types speak.
pub const VERSION: u32 = 2;

/// Environment variable that names the agent of a pod: several pods in one network namespace (hostNetwork) need names
/// of their own, because the agent's abstract socket belongs to the network namespace.
pub const AGENT_NAME_VARIABLE: &str = "NETPOL_AGENT_NAME";

/// What the harness says to the agent: one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToAgent {
    /// All answers to the call with this id have been read; the agent may forget them.
    Ack {
        /// The call's id.
        ack: u64,
    },
    /// Something to do or to report.
    Call {
        /// Chosen by the harness, never used twice for one agent.
        id: u64,
        /// What to do.
        #[serde(flatten)]
        call: Call,
    },
}

/// What the harness asks of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Send these probes at once; one [`Answer::Result`] each.
    Probe(Vec<Probe>),
    /// Which of these tokens' first packets arrived in this pod? One [`Answer::Arrived`].
    Arrivals(Vec<Token>),
    /// Open a connection and keep numbered heartbeats going on it; one [`Answer::Held`], as soon as it is open or has failed.
    Hold(Hold),
    /// How do these held connections fare? One [`Answer::Held`].
    Held(Vec<Token>),
    /// End with exit code 0, as if the work were done; one [`Answer::Ending`] first.
    End(End),
    /// Close these held connections; one [`Answer::Held`] with their last state.
    Release(Vec<Token>),
    /// Probe one path until it opens or closes; one [`Answer::Watched`].
    Watch(Watch),
}

/// That an agent is to end, or is about to: there is nothing more to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {}

/// What the agent says to the harness: one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FromAgent {
    /// The first line of every connection.
    Hello {
        /// Who is speaking.
        hello: Hello,
    },
    /// An answer to a call.
    Answer {
        /// The call's id.
        id: u64,
        /// What came of it.
        #[serde(flatten)]
        answer: Answer,
    },
}

/// The agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version, [`VERSION`].
    pub wire: u32,
    /// Drawn at random when the agent starts: another uid means that the agent was restarted and knows nothing of earlier calls.
    pub uid: String,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One probe has ended.
    Result(ProbeResult),
    /// The packets seen, of those asked for.
    Arrived(Vec<Arrival>),
    /// The state of held connections.
    Held(Vec<Held>),
    /// A path has opened or closed, or not in time.
    Watched(Watched),
    /// This agent ends once this is acknowledged, or a second later.
    Ending(End),
    /// The call could not be carried out at all; the text says why.
    Error(String),
}

#[cfg(test)]
mod tests;
