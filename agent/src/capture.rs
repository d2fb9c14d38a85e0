//! The packet capture of a pod: which opening packets of probes came in.
//!
//! A packet socket sees what enters the pod before anything in the pod can refuse it, so that a SYN counts even when no
//! listener answers. (In a node's own namespace it also sees what that node's input chains drop afterwards.)
//!
//! Tuples and time: a prober's tuple comes back after 20,000 probes ([`Token`]). A record counts for a question only if
//! its first packet is at most [`FRESH`] old; a packet of a tuple whose record is older begins a new record.
//! So an old arrival could pass for a new one only if one pod sent 2,000 probes a second; a harness sends a few
//! hundred. The other way round, arrivals must be asked for within ten seconds; a question that is repeated after
//! a reconnect gets the answer that was kept, not a new one.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netpol_wire::{Arrival, Proto, Token};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::opening::{Opening, opening};
use crate::{kernel, packet_filter};

/// How old a record may be to answer a question.
const FRESH: Duration = Duration::from_secs(10);
/// How long records are kept at least.
const KEPT: Duration = Duration::from_secs(30);
/// How many records are kept before old ones are looked for: all tuples of a prober.
const MANY: usize = 20_000;
/// Time between two searches for old records: in a node's namespace the probes of all its pods come by, thousands a second, none of which
/// may cost a walk over all records.
const SWEEP: Duration = Duration::from_secs(1);
/// How long packets wait in the receive buffer before they are read, unless somebody asks: waking up for each of them would cost a busy
/// pod more than its probes do. Short enough for the smallest buffer.
const TOGETHER: Duration = Duration::from_millis(10);
/// Bytes of receive buffer asked for; without CAP_NET_ADMIN over the host, `net.core.rmem_max` caps it.
const BUFFER: usize = 16 * 1024 * 1024;
/// Bytes of each packet that are copied: enough for IPv6 with extension headers and TCP.
const SNAP: u32 = 256;

/// Why arrivals cannot be told.
#[derive(Debug, Error)]
pub(crate) enum CaptureError {
    /// There is no packet socket.
    #[error(
        "arriving packets cannot be captured in this pod: {0}; the agent's container needs the capability NET_RAW \
         (securityContext.capabilities.add)"
    )]
    Unavailable(String),
    /// The kernel had no room for packets.
    #[error(
        "the capture of this pod lost {0} packets, so that it cannot tell what arrived; ask again with fresh probes"
    )]
    Lost(u32),
}

#[derive(Debug, Clone, Copy)]
struct Record {
    first: Instant,
    packets: u32,
}

/// What was seen lately.
#[derive(Debug, Default)]
struct Records {
    of: BTreeMap<Opening, Record>,
    swept: Option<Instant>,
}

/// The records, and the socket that they come from.
#[derive(Debug)]
struct Open {
    socket: Socket,
    records: Mutex<Records>,
}

/// The capture of this network namespace, or why there is none.
#[derive(Debug)]
pub(crate) struct Capture(Result<Arc<Open>, String>);

impl Capture {
    /// Opens the packet socket and starts a thread that empties it whatever else the agent is doing.
    pub(crate) fn start() -> Self {
        let open = socket().map(|socket| Arc::new(Open { socket, records: Mutex::default() }));
        let started = open.and_then(|open| {
            let reader = open.clone();
            std::thread::Builder::new()
                .name("capture".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || reader.read_forever())
                .map(|_| open)
        });
        Self(started.map_err(|error| error.to_string()))
    }

    /// All fresh records of these tokens' tuples, sources told apart; what is in the socket's queue is read first.
    pub(crate) fn arrivals(&self, tokens: &[Token]) -> Result<Vec<Arrival>, CaptureError> {
        let open = self.0.as_ref().map_err(|why| CaptureError::Unavailable(why.clone()))?;
        let mut records = open.records.lock().unwrap_or_else(PoisonError::into_inner);
        open.drain(&mut records);
        match kernel::capture_count(open.socket.as_fd()) {
            Ok(count) if count.lost > 0 => Err(CaptureError::Lost(count.lost)),
            Ok(_) => Ok(records.answer(tokens, Instant::now())),
            Err(error) => Err(CaptureError::Unavailable(error.to_string())),
        }
    }
}

impl Open {
    fn read_forever(&self) {
        loop {
            let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
            // An interrupted wait only means to look once more.
            let _ = poll(&mut watched, None);
            std::thread::sleep(TOGETHER);
            self.drain(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn drain(&self, records: &mut Records) {
        let mut packet = [0; SNAP as usize];
        let now = Instant::now();
        while let Ok(received) = kernel::receive(self.socket.as_fd(), &mut packet) {
            if let Some(key) = opening(&packet[..received.len]) {
                records.add(key, now);
            }
        }
    }
}

impl Records {
    fn add(&mut self, key: Opening, now: Instant) {
        let sweeps = self.swept.is_none_or(|last| now.duration_since(last) >= SWEEP);
        if sweeps && self.of.len() >= MANY {
            self.of.retain(|_, record| now.duration_since(record.first) < KEPT);
            self.swept = Some(now);
        }
        let record = self.of.entry(key).or_insert(Record { first: now, packets: 0 });
        if now.duration_since(record.first) > FRESH {
            *record = Record { first: now, packets: 0 };
        }
        record.packets += 1;
    }

    fn answer(&self, tokens: &[Token], now: Instant) -> Vec<Arrival> {
        let mut arrived = Vec::new();
        for &n in tokens {
            let id = n.tuple_id();
            let lowest: Opening = (id, Proto::Tcp, IpAddr::from([0; 4]), None);
            for (&(_, proto, src, port), record) in self.of.range(lowest..).take_while(|((of, ..), _)| *of == id) {
                if now.duration_since(record.first) <= FRESH {
                    arrived.push(Arrival { n, proto, src, port, packets: record.packets });
                }
            }
        }
        arrived
    }
}

/// A packet socket that sees the network layer of everything that comes in for this namespace on other interfaces than
/// the loopback.
fn socket() -> io::Result<Socket> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&packet_filter::opening(SNAP))?;
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    // What came before the filter was there.
    let mut packet = [0; SNAP as usize];
    while kernel::receive(socket.as_fd(), &mut packet).is_ok() {}
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 4] = [10, 1, 1, 2];

    #[test]
    fn packets_are_counted_per_source_and_forgotten_in_time() {
        let mut records = Records::default();
        let began = Instant::now();
        let key: Opening = (10_001, Proto::Tcp, SOURCE.into(), Some(8888));
        let other = (key.0, key.1, IpAddr::from([10, 1, 1, 9]), key.3);
        records.add(key, began);
        records.add(key, began + Duration::from_secs(1));
        records.add(other, began + Duration::from_secs(1));
        let arrived = records.answer(&[Token(1), Token(2)], began + Duration::from_secs(2));
        assert_eq!(
            arrived.iter().map(|a| (a.n, a.src, a.packets)).collect::<Vec<_>>(),
            [(Token(1), key.2, 2), (Token(1), other.2, 1)]
        );
        let later = began + FRESH + Duration::from_millis(500);
        assert_eq!(records.answer(&[Token(1)], later).len(), 1, "the first record is too old to be a new probe's");
        // The tuple comes back with another token.
        records.add(key, later);
        let arrived = records.answer(&[Token(20_001)], later);
        assert_eq!(arrived.iter().map(|a| a.packets).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn many_fresh_records_are_walked_once_a_second() {
        let mut records = Records::default();
        let began = Instant::now();
        let key = |id: usize| (id as u16, Proto::Tcp, IpAddr::from([10, 1, (id >> 16) as u8, 9]), Some(80));
        for id in 0..5 * MANY {
            records.add(key(id), began + Duration::from_micros(id as u64));
        }
        assert_eq!((records.of.len(), records.swept), (5 * MANY, Some(began + Duration::from_micros(MANY as u64))));
    }

    #[test]
    fn old_records_make_room() {
        let mut records = Records::default();
        let began = Instant::now();
        for id in 0..MANY as u16 {
            records.add((id, Proto::Udp, IpAddr::from(SOURCE), Some(1)), began);
        }
        records.add((MANY as u16, Proto::Udp, IpAddr::from(SOURCE), Some(1)), began + KEPT);
        assert_eq!(records.of.len(), 1);
    }
}
