//! Probes: by the agent in a pod, over `pods/exec`, as the harness sends them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use netpol_wire::{Answer, Call, FromAgent, Got, Probe, ProbeResult, Proto, ToAgent, Token};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::cluster::{WITHIN, World};

/// Milliseconds that an answer may take.
const TIMEOUT_MS: u32 = 1000;

impl World {
    /// One probe by the agent of this pod, on a fresh tuple.
    pub(crate) async fn probe(&self, from: &str, proto: Proto, to: IpAddr, port: u16) -> ProbeResult {
        self.probes(from, proto, to, port, 1).await.remove(0)
    }

    /// One probe from a source port that only those who name this number use: each comes from the same tuple as the last.
    pub(crate) async fn probe_again(
        &self,
        from: &str,
        proto: Proto,
        to: IpAddr,
        port: u16,
        number: u32,
    ) -> ProbeResult {
        // A token is a source port, and comes back to it after so many.
        const PORTS: u32 = 20_000;
        static ROUND: AtomicU32 = AtomicU32::new(1);
        let n = Token(ROUND.fetch_add(1, Ordering::Relaxed) * PORTS + PORTS - 1 - number);
        let probe = Probe { n, proto, to, port: Some(port), bytes: None, timeout_ms: TIMEOUT_MS };
        let call = ToAgent::Call { id: n.0.into(), call: Call::Probe(vec![probe]) };
        let asked = self.ask(from, &call, 1);
        tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| panic!("the agent of {from} is silent")).remove(0)
    }

    /// So many probes at once, each on a fresh tuple.
    pub(crate) async fn probes(&self, from: &str, proto: Proto, to: IpAddr, port: u16, count: u32) -> Vec<ProbeResult> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = NEXT.fetch_add(count, Ordering::Relaxed);
        let port = (proto != Proto::Icmp).then_some(port);
        let probe = |n| Probe { n: Token(n), proto, to, port, bytes: None, timeout_ms: TIMEOUT_MS };
        let call = ToAgent::Call { id: first.into(), call: Call::Probe((first..first + count).map(probe).collect()) };
        let asked = self.ask(from, &call, count as usize);
        tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| panic!("the agent of {from} is silent"))
    }

    async fn ask(&self, pod: &str, call: &ToAgent, count: usize) -> Vec<ProbeResult> {
        let parameters = AttachParams::default().stdin(true).stderr(false);
        let mut attached = self.api::<Pod>().exec(pod, ["netpol", "agent", "attach"], &parameters).await.unwrap();
        let mut stdin = attached.stdin().unwrap();
        stdin.write_all(format!("{}\n", serde_json::to_string(call).unwrap()).as_bytes()).await.unwrap();
        let mut lines = BufReader::new(attached.stdout().unwrap()).lines();
        let mut results = Vec::new();
        while results.len() < count {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the agent of {pod} has gone"));
            // Answers of earlier calls, which nobody acknowledged, come again.
            match (serde_json::from_str(&line).unwrap(), call) {
                (FromAgent::Answer { id, answer: Answer::Result(result) }, ToAgent::Call { id: own, .. })
                    if id == *own =>
                {
                    results.push(result);
                }
                (FromAgent::Answer { answer: Answer::Error(text), .. }, _) => panic!("the agent of {pod}: {text}"),
                _ => {}
            }
        }
        // Nobody acknowledges: the agent keeps a few answers, and the stream ends by being dropped.
        results
    }

    /// Probes until the answer is a reply; a new listener or a changed Service may need a moment. The source that was seen.
    pub(crate) async fn reaches(&self, from: &str, proto: Proto, to: IpAddr, port: u16) -> Option<IpAddr> {
        let what = format!("{from} reaches {to} port {port} by {proto:?}");
        self.eventually(&what, async || {
            let result = self.probe(from, proto, to, port).await;
            (result.got == Got::Reply).then_some(result.src_seen)
        })
        .await
    }
}
