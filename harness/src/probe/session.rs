//! One long-lived `pods/exec` stream per pod, over which the harness talks with the agent in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use netpol_wire::{Answer, Call, End as EndAgent, FromAgent, Hello, ToAgent, Token, VERSION};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::SessionError;
use super::ending::Ending;
use crate::waits;

/// Bytes that may wait in either direction between a session and its connection.
const BUFFER: usize = 64 * 1024;

/// A conversation with one agent; ends when dropped.
#[derive(Debug)]
pub struct Session {
    pod: String,
    calls: mpsc::UnboundedSender<Asked>,
}

/// A call on its way from [`Session::ask`] to the task that keeps the stream.
#[derive(Debug)]
struct Asked {
    call: Call,
    reply: oneshot::Sender<Result<Vec<Answer>, SessionError>>,
}

impl Session {
    /// Opens the stream and waits for the agent's hello, at most [`waits::AGENT_ANSWERS`].
    ///
    /// # Errors
    /// [`SessionError`], when no agent answers or when it speaks another version.
    pub async fn open(pods: Api<Pod>, namespace: &str, pod: &str) -> Result<Self, SessionError> {
        let (calls, asked) = mpsc::unbounded_channel();
        let (ready, opened) = oneshot::channel();
        let keeper = Keeper {
            pods,
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: None,
            hellos: 0,
            next: 1,
            open: BTreeMap::new(),
            ready: Some(ready),
        };
        tokio::spawn(keeper.keep(asked));
        match opened.await {
            Ok(result) => result.map(|()| Session { pod: pod.to_owned(), calls }),
            Err(_) => Err(SessionError::Unreachable {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                cause: "the stream's task ended".into(),
            }),
        }
    }

    /// Asks the agent, and waits for all answers to this call: [`waits::AGENT_ANSWERS`] beyond the call's own timeout. The time
    /// in which there is no stream does not count; it is bounded by [`waits::AGENT_RECONNECTS`].
    ///
    /// # Errors
    /// [`SessionError`], also when the stream is gone for good.
    pub async fn ask(&self, call: Call) -> Result<Vec<Answer>, SessionError> {
        let gone = || SessionError::Refused { pod: self.pod.clone(), why: "its stream is closed".into() };
        let (reply, answers) = oneshot::channel();
        self.calls.send(Asked { call, reply }).map_err(|_| gone())?;
        answers.await.map_err(|_| gone())?
    }
}

impl Session {
    /// Ends the agent. What it answers, if it still does, matters to nobody: its pod shows whether it has ended.
    pub async fn end(&self) {
        self.ask(Call::End(EndAgent {})).await.ok();
    }
}

/// How long the agent may take by the call itself.
fn own_timeout(call: &Call) -> Duration {
    let longest = match call {
        Call::Probe(probes) => probes.iter().map(|probe| probe.timeout_ms).max().unwrap_or_default(),
        Call::Hold(hold) => hold.timeout_ms,
        Call::Watch(watch) => watch.limit_ms + watch.probe.timeout_ms,
        Call::Arrivals(_) | Call::Held(_) | Call::Release(_) | Call::End(_) => 0,
    };
    Duration::from_millis(longest.into())
}

/// A call that has not been answered in full.
struct Open {
    call: Call,
    answers: Vec<Answer>,
    seen: BTreeSet<Token>,
    /// Since when the agent could answer: the call was asked, and there is a stream.
    since: Instant,
    reply: oneshot::Sender<Result<Vec<Answer>, SessionError>>,
}

impl Open {
    /// How long the agent is waited for.
    fn limit(&self) -> Duration {
        waits::AGENT_ANSWERS.limit + own_timeout(&self.call)
    }

    /// Takes an answer, unless it is a repetition.
    fn take(&mut self, answer: Answer) {
        let fresh = match &answer {
            Answer::Result(result) => self.seen.insert(result.n),
            _ => self.answers.is_empty(),
        };
        if fresh {
            self.answers.push(answer);
        }
    }

    fn complete(&self) -> bool {
        let wanted = match &self.call {
            Call::Probe(probes) => probes.len(),
            _ => 1,
        };
        self.answers.len() >= wanted || matches!(self.answers.last(), Some(Answer::Error(_)))
    }
}

/// Why a conversation on one stream ended.
enum End {
    /// The session was dropped.
    Dropped,
    /// The stream broke: worth another.
    Broken(String),
    /// No further stream can help.
    Fatal(SessionError),
}

/// Keeps a stream to one agent alive, and the calls that wait for its answers.
struct Keeper {
    pods: Api<Pod>,
    namespace: String,
    pod: String,
    uid: Option<String>,
    hellos: u64,
    next: u64,
    open: BTreeMap<u64, Open>,
    ready: Option<oneshot::Sender<Result<(), SessionError>>>,
}

impl Keeper {
    async fn keep(mut self, mut asked: mpsc::UnboundedReceiver<Asked>) {
        let mut broken_since = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let hellos = self.hellos;
            let cause = match timeout(waits::AGENT_ANSWERS.limit, self.attach()).await {
                Ok(Ok(process)) => match self.converse(process, &mut asked).await {
                    End::Dropped => return,
                    End::Fatal(error) => return self.fail(error, asked).await,
                    End::Broken(cause) => cause,
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no stream within {}", waits::AGENT_ANSWERS),
            };
            if self.hellos != hellos {
                (broken_since, pause) = (Instant::now(), Duration::from_millis(10));
            }
            tracing::debug!(pod = self.pod, cause, "the agent's stream broke");
            if broken_since.elapsed() > waits::AGENT_RECONNECTS.limit {
                let (namespace, pod) = (self.namespace.clone(), self.pod.clone());
                return self.fail(SessionError::Unreachable { namespace, pod, cause }, asked).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn attach(&self) -> Result<AttachedProcess, kube::Error> {
        let params = AttachParams::default().stdin(true).stdout(true).stderr(true).container("agent");
        let params = params.max_stdin_buf_size(BUFFER).max_stdout_buf_size(BUFFER);
        self.pods.exec(&self.pod, ["netpol", "agent", "attach"], &params).await
    }

    async fn converse(&mut self, mut process: AttachedProcess, asked: &mut mpsc::UnboundedReceiver<Asked>) -> End {
        let (Some(mut stdin), Some(stdout)) = (process.stdin(), process.stdout()) else {
            return End::Broken("the API server gave no stdin or stdout".into());
        };
        let mut ending = Ending::of(&mut process);
        let mut lines = BufReader::new(stdout).lines();
        let mut pulse = tokio::time::interval(waits::AGENT_PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Written while answers are read: an agent whose answers nobody takes reads no more calls, and neither does what is in between.
        let mut outbox = Vec::new();
        // Acknowledgements travel with the next call, or with the next pulse: nobody waits for them.
        let mut acks = Vec::new();
        let mut greeted = false;
        let mut heard = Instant::now();
        loop {
            let patience = if greeted { waits::AGENT_STREAM_SILENT } else { waits::AGENT_ANSWERS };
            tokio::select! {
                () = ending.lost() => return End::Broken("the connection broke".into()),
                // A connection whose other end is gone is noticed by whoever writes. No call has this id.
                _ = pulse.tick(), if outbox.is_empty() && !(greeted && self.open.is_empty() && acks.is_empty()) => {
                    if acks.is_empty() {
                        say(&mut acks, &ToAgent::Ack { ack: 0 });
                    }
                    outbox.append(&mut acks);
                    if greeted {
                        self.give_up_late();
                    }
                }
                // A stream whose other end is gone without a word looks like an agent that thinks: it is opened anew, which loses
                // nothing, because the agent keeps its answers until they are acknowledged.
                () = tokio::time::sleep_until(heard + patience.limit), if !(greeted && self.open.is_empty()) => {
                    return End::Broken(format!("nothing was heard within {patience}"));
                }
                written = stdin.write(&outbox), if !outbox.is_empty() => match written {
                    Ok(0) => return End::Broken("the stream takes no more".into()),
                    Ok(count) => drop(outbox.drain(..count)),
                    Err(error) => return End::Broken(error.to_string()),
                },
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        heard = Instant::now();
                        if !greeted {
                            if let Err(end) = self.greet(&line) {
                                return end;
                            }
                            greeted = true;
                            self.say_again(&mut outbox);
                        } else if let Some(ack) = self.hear(&line) {
                            say(&mut acks, &ToAgent::Ack { ack });
                        }
                    }
                    Ok(None) => return End::Broken(ending.last_words(&mut process).await),
                    Err(error) => return End::Broken(error.to_string()),
                },
                call = asked.recv(), if greeted => match call {
                    Some(first) => {
                        if self.open.is_empty() {
                            heard = Instant::now();
                        }
                        outbox.append(&mut acks);
                        // Calls that are asked at the same time travel together.
                        self.begin(first, &mut outbox);
                        while let Ok(next) = asked.try_recv() {
                            self.begin(next, &mut outbox);
                        }
                    }
                    None => return End::Dropped,
                },
            }
        }
    }

    /// Puts a call into the outbox.
    fn begin(&mut self, Asked { call, reply }: Asked, outbox: &mut Vec<u8>) {
        let id = self.next;
        self.next += 1;
        say(outbox, &ToAgent::Call { id, call: call.clone() });
        let open = Open { call, answers: Vec::new(), seen: BTreeSet::new(), since: Instant::now(), reply };
        self.open.insert(id, open);
    }

    /// On a new stream: the calls that still wait for answers. What nobody waits for any more is forgotten.
    fn say_again(&mut self, outbox: &mut Vec<u8>) {
        self.open.retain(|_, open| !open.reply.is_closed());
        for (id, open) in &mut self.open {
            open.since = Instant::now();
            say(outbox, &ToAgent::Call { id: *id, call: open.call.clone() });
        }
    }

    /// Answers calls for which the agent has taken too long.
    fn give_up_late(&mut self) {
        let late = |open: &Open| open.since.elapsed() > open.limit();
        let ids: Vec<u64> = self.open.iter().filter(|(_, open)| late(open)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(open) = self.open.remove(&id) else { continue };
            let limit = open.limit();
            open.reply.send(Err(SessionError::Silent { pod: self.pod.clone(), limit })).ok();
        }
    }

    /// Reads the hello, and fails what an agent that was restarted cannot answer any more.
    fn greet(&mut self, line: &str) -> Result<(), End> {
        let Ok(FromAgent::Hello { hello: Hello { wire, uid } }) = serde_json::from_str(line) else {
            return Err(End::Broken(format!("expected the agent's hello, got: {line}")));
        };
        if wire != VERSION {
            return Err(End::Fatal(SessionError::Version { pod: self.pod.clone(), theirs: wire }));
        }
        if self.uid.as_ref().is_some_and(|known| *known != uid) {
            for (_, open) in std::mem::take(&mut self.open) {
                let (namespace, pod) = (self.namespace.clone(), self.pod.clone());
                open.reply.send(Err(SessionError::Restarted { namespace, pod })).ok();
            }
        }
        self.uid = Some(uid);
        self.hellos += 1;
        if let Some(ready) = self.ready.take() {
            ready.send(Ok(())).ok();
        }
        Ok(())
    }

    /// Takes a line; the id of the call that it completed, if it did.
    fn hear(&mut self, line: &str) -> Option<u64> {
        let (id, answer) = match serde_json::from_str(line) {
            Ok(FromAgent::Answer { id, answer }) => (id, answer),
            Ok(FromAgent::Hello { .. }) => return None,
            Err(error) => {
                tracing::warn!(pod = self.pod, %error, line, "the agent said something that is not in the protocol");
                return None;
            }
        };
        // A repetition of what was complete before the stream broke: acknowledge it again.
        let Some(open) = self.open.get_mut(&id) else { return Some(id) };
        open.take(answer);
        if !open.complete() {
            return None;
        }
        let open = self.open.remove(&id)?;
        let refused = open.answers.iter().find_map(|answer| match answer {
            Answer::Error(why) => Some(SessionError::Refused { pod: self.pod.clone(), why: why.clone() }),
            _ => None,
        });
        open.reply.send(refused.map_or(Ok(open.answers), Err)).ok();
        Some(id)
    }

    /// Answers everything with this error, what is asked from now on included: the cause must not be hidden behind its consequences.
    async fn fail(mut self, error: SessionError, mut asked: mpsc::UnboundedReceiver<Asked>) {
        if let Some(ready) = self.ready.take() {
            ready.send(Err(error.clone())).ok();
        }
        for (_, open) in std::mem::take(&mut self.open) {
            open.reply.send(Err(error.clone())).ok();
        }
        while let Some(Asked { reply, .. }) = asked.recv().await {
            reply.send(Err(error.clone())).ok();
        }
    }
}

/// Puts a line into the outbox.
fn say(outbox: &mut Vec<u8>, line: &ToAgent) {
    // What we send are numbers and names: there is nothing in it that JSON cannot say.
    if let Ok(text) = serde_json::to_vec(line) {
        outbox.extend_from_slice(&text);
        outbox.push(b'\n');
    }
}
