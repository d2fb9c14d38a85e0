//! One probe, what the prober got, and what the receiver saw.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Token;

/// What a probe is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Connect, send a line, read a line.
    Tcp,
    /// Send a datagram, await a datagram.
    Udp,
    /// Echo request, echo reply.
    Icmp,
    /// INIT, INIT-ACK, as raw packets.
    Sctp,
}

/// One probe to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Its name, and its tuple.
    pub n: Token,
    /// Its protocol.
    pub proto: Proto,
    /// Where it goes.
    pub to: IpAddr,
    /// The destination port; absent for ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Bytes of the datagram, and of its echo at least; absent: as many as its line has. UDP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u16>,
    /// Milliseconds after which the answer is [`Got::Timeout`].
    pub timeout_ms: u32,
}

/// What came back to the prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Got {
    /// The round trip: the other pod's agent answered.
    Reply,
    /// A TCP reset, or an SCTP ABORT, instead of an answer.
    Rst,
    /// An ICMP error (unreachable, administratively prohibited) instead of an answer.
    Icmp,
    /// Nothing within the timeout.
    Timeout,
    /// The pod itself has no route there: nothing was sent.
    NoRoute,
    /// The probe could not be made; `detail` says why.
    Error,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Which probe.
    pub n: Token,
    /// What came back.
    pub got: Got,
    /// Microseconds from the first packet to the answer; only with an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// The prober's address as the receiver saw it; only with [`Got::Reply`] over TCP or UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_seen: Option<IpAddr>,
    /// Who said that nobody listens on the port (ICMP port unreachable); only with [`Got::Icmp`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<IpAddr>,
    /// Microseconds by which this agent was late in sending or in noticing the end: its own delay, not the network's.
    pub late_us: u64,
    /// The operating system's words, for [`Got::Error`], [`Got::NoRoute`] and [`Got::Icmp`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A probe's packet, as captured on its way into the receiving pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Which probe of the pod at `src`: tokens of different probers may be equal.
    pub n: Token,
    /// Its protocol.
    pub proto: Proto,
    /// The source address in the packet.
    pub src: IpAddr,
    /// The destination port; absent for ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many opening packets (SYN, datagram, echo request) came; more than one is a retransmission.
    pub packets: u32,
}
