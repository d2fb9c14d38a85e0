//! The log of one run of a container: a ring of lines with the time of their reading.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::api::runtime::LogLine;

/// Lines that are kept; older ones are forgotten.
const KEPT: usize = 20_000;
/// Longest line in bytes; longer ones are cut into several.
const LONGEST: u64 = 16 * 1024;

/// A handle to a log; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ContainerLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// Lines written so far and whether the log is complete.
    progress: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    forgotten: u64,
}

impl ContainerLog {
    /// An empty log.
    pub(crate) fn new() -> ContainerLog {
        ContainerLog(Arc::new(Shared { ring: Mutex::default(), progress: watch::channel((0, false)).0 }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: Vec<u8>) {
        let mut ring = self.ring();
        ring.lines.push_back(LogLine { time: jiff::Timestamp::now(), text: Bytes::from(text) });
        if ring.lines.len() > KEPT {
            ring.lines.pop_front();
            ring.forgotten += 1;
        }
        let written = ring.forgotten + ring.lines.len() as u64;
        drop(ring);
        self.0.progress.send_modify(|progress| progress.0 = written);
    }

    /// Nothing will be added any more: readers that follow come to their end.
    pub(crate) fn close(&self) {
        self.0.progress.send_modify(|progress| progress.1 = true);
    }

    /// Waits until nothing will be added any more.
    pub(crate) async fn closed(&self) {
        // The sender is in the log itself.
        let _ = self.0.progress.subscribe().wait_for(|(_, closed)| *closed).await;
    }

    /// Reads the pipe that the container writes to, until its last writer is gone.
    pub(crate) async fn fill(self, pipe: OwnedFd) -> std::io::Result<()> {
        use tokio::io::AsyncReadExt;
        let mut reader = BufReader::new(pipe::Receiver::from_owned_fd(pipe)?);
        loop {
            let mut line = Vec::new();
            if (&mut reader).take(LONGEST).read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            self.push(line);
        }
    }

    /// What has been written so far, and all that follows until the log is closed.
    pub(crate) fn read(&self) -> (Vec<LogLine>, BoxStream<'static, LogLine>) {
        let progress = self.0.progress.subscribe();
        let (stored, next) = {
            let ring = self.ring();
            (ring.lines.iter().cloned().collect::<Vec<_>>(), ring.forgotten + ring.lines.len() as u64)
        };
        let live = stream::unfold((self.clone(), progress, next), |(log, mut progress, next)| async move {
            let (_, closed) = *progress.wait_for(|(written, closed)| *written > next || *closed).await.ok()?;
            let (line, at) = {
                let ring = log.ring();
                // A reader that is slower than the ring is long goes on with the oldest line that there is.
                let at = next.max(ring.forgotten);
                (ring.lines.get((at - ring.forgotten) as usize).cloned(), at)
            };
            match line {
                Some(line) => Some((line, (log, progress, at + 1))),
                None => {
                    debug_assert!(closed);
                    None
                }
            }
        });
        (stored, live.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &LogLine) -> &str {
        std::str::from_utf8(&line.text).expect("text")
    }

    #[tokio::test]
    async fn a_follower_sees_what_is_stored_then_what_comes_then_the_end() {
        let log = ContainerLog::new();
        let (read, write) = std::io::pipe().expect("a pipe");
        let filler = tokio::spawn(log.clone().fill(read.into()));
        log.push(b"one\n".to_vec());
        let (stored, mut live) = log.read();
        assert_eq!(stored.iter().map(text).collect::<Vec<_>>(), ["one\n"]);
        std::io::Write::write_all(&mut &write, b"two\nthree").expect("written");
        drop(write);
        filler.await.expect("no panic").expect("readable");
        log.close();
        assert_eq!(live.next().await.as_ref().map(text), Some("two\n"));
        assert_eq!(live.next().await.as_ref().map(text), Some("three"));
        assert!(live.next().await.is_none());
    }

    #[tokio::test]
    async fn the_ring_forgets_the_oldest() {
        let log = ContainerLog::new();
        let (_, live) = log.read();
        for number in 0..KEPT + 5 {
            log.push(format!("{number}").into_bytes());
        }
        log.close();
        assert_eq!(text(&log.read().0[0]), "5");
        assert_eq!(live.count().await, KEPT);
    }
}
