//! Puts packets into the node and tells which of them come through, without waiting for those that do not.
//!
//! Everything happens on one processor, whose queue of packets keeps their order: once a marker has come through, which goes from
//! uplink to uplink and concerns no pod, so has everything that was sent before it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use netpol_oracle::Traffic;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};

use crate::node::{Ends, MAC, sysctl};
use crate::packet::{Opening, number, transport_number};
use crate::place::Place;
use crate::scratch::{Packets, packet_socket};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Packets between two markers: few enough for every queue on the way.
const BATCH: usize = 80;
/// How long a marker may take before the test gives up; it takes microseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The sockets around the node.
pub(crate) struct Exchange {
    ends: Ends,
    arriving: [OwnedFd; 2],
    /// What the node itself is given, after its filter, by protocol number.
    delivered: Vec<(u8, bool, Socket)>,
    /// What the node itself sends.
    own: [Socket; 2],
    last: u32,
}

impl Exchange {
    pub(crate) fn new(ends: Ends) -> Self {
        let allowed = sched_getaffinity(None).expect("this thread's processors");
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("a processor"));
        sched_setaffinity(None, &one).expect("to stay on one processor");
        let arriving = ends.far.run(|| {
            [IPV4, IPV6].map(|ether_type| packet_socket(Packets::Arriving(ether_type)).expect("a packet socket"))
        });
        let raw = |domain, protocol: i32| {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).expect("a raw socket");
            socket.set_nonblocking(true).expect("it never blocks");
            socket
        };
        let v4 = [1_u8, 6, 17, 132].map(|protocol| (protocol, true, raw(Domain::IPV4, protocol.into())));
        let v6 = [58_u8, 6, 17, 132].map(|protocol| (protocol, false, raw(Domain::IPV6, protocol.into())));
        Self {
            ends,
            arriving,
            delivered: v4.into_iter().chain(v6).collect(),
            own: [raw(Domain::IPV4, 255), raw(Domain::IPV6, 255)],
            last: 0,
        }
    }

    /// The number of a packet that is made next.
    pub(crate) fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// The numbers of the packets that came through.
    pub(crate) fn send(&mut self, packets: &[Opening]) -> BTreeSet<u32> {
        let mut through = BTreeSet::new();
        for batch in packets.chunks(BATCH) {
            batch.iter().for_each(|packet| self.put(packet));
            let (from, to) = (Ipv4Addr::new(198, 18, 0, 1).into(), Ipv4Addr::new(198, 18, 0, 2).into());
            let marker = Opening { from, to, traffic: Traffic::Udp(9), number: self.fresh() };
            self.put(&marker);
            self.collect(marker.number, &mut through);
        }
        through
    }

    fn put(&self, packet: &Opening) {
        let bytes = packet.bytes();
        let socket = match Place::of(packet.from) {
            Place::Slot(slot) => &self.ends.slots[usize::from(slot)],
            Place::Uplink => &self.ends.uplink,
            Place::Node => {
                let (socket, to) = match packet.to {
                    IpAddr::V4(_) => (&self.own[0], SocketAddr::new(packet.to, 0)),
                    IpAddr::V6(_) => (&self.own[1], SocketAddr::new(packet.to, 0)),
                };
                // Refused only where a rule drops what the node sends, which is a verdict like any other.
                _ = socket.send_to(&bytes, &to.into());
                return;
            }
        };
        let ether_type = if packet.from.is_ipv4() { IPV4 } else { IPV6 };
        let mut frame = Vec::with_capacity(14 + bytes.len());
        frame.extend(MAC);
        frame.extend([2, 0, 0, 0, 0, 2]);
        frame.extend(ether_type.to_be_bytes());
        frame.extend(bytes);
        let sent = write(socket, &frame).expect("a frame is sent");
        assert_eq!(sent, frame.len(), "a whole frame is sent");
    }

    fn collect(&self, marker: u32, through: &mut BTreeSet<u32>) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = false;
        while !seen {
            assert!(Instant::now() < deadline, "the marker {marker} got lost between the node's uplinks");
            let mut arrived = [PollFd::new(&self.arriving[0], PollFlags::IN)];
            let wait = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            _ = poll(&mut arrived, Some(&wait));
            drain(&self.arriving[0], |packet| {
                let number = number(packet);
                seen |= number == Some(marker);
                through.extend(number);
            });
        }
        drain(&self.arriving[1], |packet| through.extend(number(packet)));
        for (protocol, with_header, socket) in &self.delivered {
            drain(socket, |packet| {
                through.extend(if *with_header { number(packet) } else { transport_number(*protocol, packet) });
            });
        }
        through.remove(&marker);
    }
}

fn drain(socket: &impl AsFd, mut packet: impl FnMut(&[u8])) {
    let mut buffer = [0; 256];
    loop {
        match read(socket, &mut buffer) {
            Ok(length) => packet(&buffer[..length]),
            Err(Errno::AGAIN) => return,
            Err(Errno::INTR) => {}
            Err(error) => panic!("reading what came through: {error}"),
        }
    }
}

/// Lets entries of connection tracking, all of them unanswered, end soon, so that they neither fill it nor come round.
pub(crate) fn let_connections_end_soon() {
    for (name, seconds) in [
        ("tcp_timeout_syn_sent", "5"),
        ("tcp_timeout_close", "1"),
        ("udp_timeout", "5"),
        ("icmp_timeout", "5"),
        ("icmpv6_timeout", "5"),
        ("sctp_timeout_cookie_wait", "5"),
    ] {
        sysctl(&format!("netfilter/nf_conntrack_{name}"), seconds);
    }
}
