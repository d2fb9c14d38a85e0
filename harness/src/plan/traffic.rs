//! What a probe is made of.

use std::fmt;
use std::net::IpAddr;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// An address's family.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 }
    }

    /// Whether an address is of this family.
    pub fn holds(self, address: IpAddr) -> bool {
        address.is_ipv6() == (self == Family::Ipv6)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// What is sent to a receiver, whatever the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A connection to this port.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
    /// An INIT to this port.
    Sctp(u16),
    /// An echo request.
    Icmp,
    /// A datagram to this port, on which nobody listens: its answer is an ICMP error (P4).
    RefusedUdp(u16),
    /// A datagram to this port that is too large for one packet (P35).
    FragmentedUdp(u16),
}

impl Transport {
    /// The protocol as manifests write it, and the port; none for echo requests.
    pub fn port(self) -> Option<(&'static str, u16)> {
        match self {
            Transport::Tcp(port) => Some(("TCP", port)),
            Transport::Udp(port) | Transport::RefusedUdp(port) | Transport::FragmentedUdp(port) => Some(("UDP", port)),
            Transport::Sctp(port) => Some(("SCTP", port)),
            Transport::Icmp => None,
        }
    }

    /// The same protocol with another port.
    pub fn with_port(self, port: u16) -> Self {
        match self {
            Transport::Tcp(_) => Transport::Tcp(port),
            Transport::Udp(_) => Transport::Udp(port),
            Transport::Sctp(_) => Transport::Sctp(port),
            Transport::Icmp => Transport::Icmp,
            Transport::RefusedUdp(_) => Transport::RefusedUdp(port),
            Transport::FragmentedUdp(_) => Transport::FragmentedUdp(port),
        }
    }

    /// Whether it is an agent that answers, which can be asked over the loopback; a kernel answers the others by itself.
    pub fn has_listener(self) -> bool {
        !matches!(self, Transport::Icmp | Transport::RefusedUdp(_))
    }
}

/// A probe: `tcp/8888`, `udp6/53`, `sctp/80`, `icmp4`, `refused-udp/9`, `fragmented-udp6/80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Traffic {
    /// What is sent.
    pub transport: Transport,
    /// Over which of the receiver's addresses; none: its primary one.
    pub family: Option<Family>,
}

impl Traffic {
    /// Over the receiver's primary address.
    pub const fn primary(transport: Transport) -> Self {
        Traffic { transport, family: None }
    }

    /// The first of these addresses that the probe may go to.
    pub fn pick(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses.iter().copied().find(|address| self.family.is_none_or(|family| family.holds(*address)))
    }

    /// Reads `tcp/8888` and its like, in either case: a parameter such as `TCP` serves a policy's port and a probe alike.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (name, digits) = match lower.split_once('/') {
            Some((name, digits)) => (name, Some(digits)),
            None => (lower.as_str(), None),
        };
        let (name, family) = match (name.strip_suffix('4'), name.strip_suffix('6')) {
            (Some(name), _) => (name, Some(Family::Ipv4)),
            (_, Some(name)) => (name, Some(Family::Ipv6)),
            _ => (name, None),
        };
        let port = digits.and_then(|digits| digits.parse::<u16>().ok()).filter(|port| *port != 0);
        let transport = match (name, digits, port) {
            ("icmp", None, _) => Transport::Icmp,
            ("tcp", _, Some(port)) => Transport::Tcp(port),
            ("udp", _, Some(port)) => Transport::Udp(port),
            ("sctp", _, Some(port)) => Transport::Sctp(port),
            ("refused-udp", _, Some(port)) => Transport::RefusedUdp(port),
            ("fragmented-udp", _, Some(port)) => Transport::FragmentedUdp(port),
            _ => return None,
        };
        Some(Traffic { transport, family })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            None => "",
            Some(Family::Ipv4) => "4",
            Some(Family::Ipv6) => "6",
        };
        match self.transport {
            Transport::Tcp(port) => write!(f, "tcp{family}/{port}"),
            Transport::Udp(port) => write!(f, "udp{family}/{port}"),
            Transport::Sctp(port) => write!(f, "sctp{family}/{port}"),
            Transport::Icmp => write!(f, "icmp{family}"),
            Transport::RefusedUdp(port) => write!(f, "refused-udp{family}/{port}"),
            Transport::FragmentedUdp(port) => write!(f, "fragmented-udp{family}/{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_as_they_are_written() {
        for text in ["tcp/80", "udp6/53", "sctp4/1", "icmp", "icmp6", "refused-udp/9", "fragmented-udp6/80"] {
            assert_eq!(Traffic::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Traffic::parse("TCP/80"), Some(Traffic::primary(Transport::Tcp(80))));
        for text in ["tcp", "tcp/0", "tcp/65536", "icmp/1", "tcp5/80", "gre/1", "refused-tcp/1", "refused-udp", ""] {
            assert_eq!(Traffic::parse(text), None, "{text}");
        }
    }
}
