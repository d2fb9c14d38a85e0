//! What the harness asks, carried out: reads lines, starts work, hands the answers to the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netpol_wire::{Answer, Call, End, FromAgent, Hello, ToAgent, VERSION};
use tokio::sync::{Notify, mpsc};

use crate::capture::Capture;
use crate::held::HeldConnections;
use crate::ledger::{Ledger, Line};
use crate::prober;
use crate::watch;

/// How long an agent that was asked to end waits for the acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);

/// The agent of a pod: what outlives every attached relay.
#[derive(Debug)]
pub(crate) struct Agent {
    uid: String,
    ledger: Mutex<Ledger>,
    capture: Capture,
    held: HeldConnections,
    /// The call that asked this agent to end.
    ending: Mutex<Option<u64>>,
    ended: Notify,
}

impl Agent {
    /// Starts the packet capture of this network namespace, and draws a uid.
    pub(crate) fn new() -> anyhow::Result<Arc<Self>> {
        let mut random = [0u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        Ok(Arc::new(Self {
            uid: format!("{:032x}", u128::from_ne_bytes(random)),
            ledger: Mutex::default(),
            capture: Capture::start(),
            held: HeldConnections::default(),
            ending: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// A new relay: the hello and all unacknowledged answers, and where the others come out.
    pub(crate) fn attach(&self) -> (Vec<Line>, mpsc::Receiver<Line>) {
        let hello = to_line(&FromAgent::Hello { hello: Hello { wire: VERSION, uid: self.uid.clone() } });
        let (backlog, lines) = self.ledger().attach();
        (std::iter::once(hello).chain(backlog).collect(), lines)
    }

    /// Carries out one line. A line that cannot be read is answered with an error under its id, or under 0 if it has none.
    pub(crate) fn hear(self: &Arc<Self>, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(ToAgent::Ack { ack }) => {
                self.ledger().acknowledge(ack);
                if *self.ending.lock().unwrap_or_else(PoisonError::into_inner) == Some(ack) {
                    self.ended.notify_one();
                }
            }
            Ok(ToAgent::Call { id, call }) => {
                if self.ledger().begin(id) {
                    self.carry_out(id, call);
                }
            }
            Err(error) => {
                let read: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
                let id = read.get("id").and_then(serde_json::Value::as_u64).unwrap_or_default();
                let why = reason(&read).unwrap_or_else(|| error.to_string());
                let answer = Answer::Error(format!("this line is no call of version {VERSION} of the protocol: {why}"));
                self.ledger().send(&to_line(&FromAgent::Answer { id, answer }));
            }
        }
    }

    /// Returns when somebody has asked this agent to end and knows that it does.
    pub(crate) async fn asked_to_end(&self) {
        self.ended.notified().await;
    }

    fn carry_out(self: &Arc<Self>, id: u64, call: Call) {
        match call {
            Call::Probe(probes) => {
                let agent = self.clone();
                prober::send_all(probes, move |results| {
                    results.into_iter().for_each(|result| agent.answer(id, Answer::Result(result)));
                });
            }
            Call::Arrivals(tokens) => self.answer(
                id,
                match self.capture.arrivals(&tokens) {
                    Ok(arrived) => Answer::Arrived(arrived),
                    Err(error) => Answer::Error(error.to_string()),
                },
            ),
            Call::Hold(hold) => {
                let agent = self.clone();
                tokio::spawn(async move {
                    let answer = match agent.held.open(hold).await {
                        Ok(held) => Answer::Held(vec![held]),
                        Err(error) => Answer::Error(error.to_string()),
                    };
                    agent.answer(id, answer);
                });
            }
            Call::Held(tokens) => self.answer(id, Answer::Held(self.held.report(&tokens))),
            Call::End(End {}) => {
                *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
                self.answer(id, Answer::Ending(End {}));
                let agent = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(UNACKNOWLEDGED).await;
                    agent.ended.notify_one();
                });
            }
            Call::Release(tokens) => self.answer(id, Answer::Held(self.held.release(&tokens))),
            Call::Watch(path) => {
                let agent = self.clone();
                tokio::spawn(async move {
                    let nothing = || Answer::Error("no probe was sent: a watch needs a token and time".to_owned());
                    agent.answer(id, watch::watch(path).await.map_or_else(nothing, Answer::Watched));
                });
            }
        }
    }

    fn answer(&self, id: u64, answer: Answer) {
        self.ledger().answer(id, &to_line(&FromAgent::Answer { id, answer }));
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a JSON value is no call: an untagged enum's own error only says that no variant fits.
fn reason(read: &serde_json::Value) -> Option<String> {
    let mut call = read.as_object()?.clone();
    call.remove("id")?;
    serde_json::from_value::<Call>(call.into()).err().map(|error| error.to_string())
}

fn to_line(message: &FromAgent) -> Line {
    // These types hold nothing that JSON cannot: no maps with other keys than strings, no foreign serializers.
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    line.into()
}
