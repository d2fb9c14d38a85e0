//! Datagrams of one pod to another, each from another port so that no connection of before answers for the rules: when each was
//! sent, and whether it arrived.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::node::Node;

const PORT: u16 = 7000;
/// Two probes a millisecond.
const PERIOD: Duration = Duration::from_micros(500);
/// How many there are at most: enough for twenty minutes.
const MOST: usize = 1 << 21;
/// A datagram that has not arrived after this long never does.
const LOST: Duration = Duration::from_millis(30);
/// How long a change of what arrives is waited for.
const WITHIN: Duration = Duration::from_secs(10);

/// The probes, until they are dropped.
pub(super) struct Probes {
    record: Arc<Record>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

struct Record {
    begun: Instant,
    /// Nanoseconds from the beginning to the sending of each.
    sent: Vec<AtomicU64>,
    arrived: Vec<AtomicBool>,
    count: AtomicU64,
    stop: AtomicBool,
}

impl Probes {
    /// Begins to send from the node's client to its server.
    ///
    /// # Errors
    /// The server has no socket.
    pub(super) fn start(node: &Node) -> anyhow::Result<Self> {
        let record = Arc::new(Record {
            begun: Instant::now(),
            sent: (0..MOST).map(|_| AtomicU64::new(0)).collect(),
            arrived: (0..MOST).map(|_| AtomicBool::new(false)).collect(),
            count: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let listening = node.server.namespace.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        listening.set_read_timeout(Some(LOST)).context("a timeout")?;
        let (sender, receiver) = (Arc::clone(&record), Arc::clone(&record));
        let (namespace, to) = (node.client.namespace.try_clone()?, node.server.address);
        let threads = vec![
            thread::spawn(move || namespace.run(|| sender.send(to))),
            thread::spawn(move || receiver.receive(&listening)),
        ];
        Ok(Self { record, threads })
    }

    /// From a moment until the sending of the first datagram that did not arrive, after which none did.
    ///
    /// # Errors
    /// Datagrams arrive all the same.
    pub(super) fn first_dropped(&self, since: Instant) -> anyhow::Result<Duration> {
        let first = self.record.index(since);
        self.wait("datagrams still arrive", || {
            // Those that were sent long enough ago are decided.
            let decided = self.record.index(Instant::now() - LOST);
            let last = (first..decided).rev().find(|index| self.record.arrived[*index].load(Ordering::Acquire));
            let dropped = last.map_or(first, |last| last + 1);
            // Several, lest one that was lost alone be taken for a verdict.
            (dropped + 20 <= decided).then(|| self.record.sent(dropped) - since)
        })
    }

    /// From a moment until the sending of the first datagram that arrived.
    ///
    /// # Errors
    /// None arrives.
    pub(super) fn first_passed(&self, since: Instant) -> anyhow::Result<Duration> {
        let first = self.record.index(since);
        self.wait("no datagram arrives", || {
            let all = self.record.count.load(Ordering::Acquire) as usize;
            let passed = (first..all).find(|index| self.record.arrived[*index].load(Ordering::Acquire))?;
            Some(self.record.sent(passed) - since)
        })
    }

    fn wait(&self, what: &str, found: impl Fn() -> Option<Duration>) -> anyhow::Result<Duration> {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(found) = found() {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "{what} after {WITHIN:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends them; probes a second.
    ///
    /// # Errors
    /// One could not be sent.
    pub(super) fn stop(self) -> anyhow::Result<f64> {
        let (sent, took) = (self.record.count.load(Ordering::Acquire), self.record.begun.elapsed());
        self.record.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(sent as f64 / took.as_secs_f64())
    }
}

impl Record {
    fn send(&self, to: Ipv4Addr) -> anyhow::Result<()> {
        let mut due = Instant::now();
        for index in 0..MOST {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let port = 1024 + (index % (usize::from(u16::MAX) - 1024)) as u16;
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("a socket for a probe")?;
            self.sent[index].store(self.begun.elapsed().as_nanos() as u64, Ordering::Release);
            self.count.store(index as u64 + 1, Ordering::Release);
            socket.send_to(&(index as u64).to_be_bytes(), (to, PORT)).context("sending a probe")?;
            due = (due + PERIOD).max(Instant::now());
            thread::sleep(due - Instant::now());
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket) -> anyhow::Result<()> {
        let mut index = [0; 8];
        while !self.stop.load(Ordering::Acquire) {
            if socket.recv(&mut index).is_ok_and(|length| length == index.len()) {
                self.arrived[u64::from_be_bytes(index) as usize].store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// The first probe that was sent at this moment or later.
    fn index(&self, moment: Instant) -> usize {
        let nanoseconds = moment.saturating_duration_since(self.begun).as_nanos() as u64;
        let all = self.count.load(Ordering::Acquire) as usize;
        self.sent[..all].partition_point(|sent| sent.load(Ordering::Acquire) < nanoseconds)
    }

    fn sent(&self, index: usize) -> Instant {
        self.begun + Duration::from_nanos(self.sent[index].load(Ordering::Acquire))
    }
}
