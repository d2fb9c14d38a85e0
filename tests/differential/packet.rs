//! Opening packets, each with a tuple that nobody has used before and a number by which it is known again.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};
use netpol_oracle::Traffic;

/// Where source ports begin. No destination port is among them, so that no packet is the reply to another.
const FIRST_SOURCE_PORT: u32 = 20_000;
const SOURCE_PORTS: u32 = 40_000;

/// An opening packet: TCP SYN, UDP, SCTP INIT or an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) traffic: Traffic,
    /// Known again by; never 0.
    pub(crate) number: u32,
}

impl Opening {
    /// As an IP packet.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { from, to, traffic, number } = *self;
        let mut bytes = Vec::with_capacity(96);
        let source = (FIRST_SOURCE_PORT + number % SOURCE_PORTS) as u16;
        // Connection tracking tells echo requests by their identifier, not by their sequence number.
        let (high, low) = ((number >> 16) as u16, number as u16);
        let ip = |from: IpAddr, to: IpAddr| match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Ip::V4(from.octets(), to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => Ip::V6(from.octets(), to.octets()),
            _ => panic!("{from} and {to} are of two families"),
        };
        let ip = ip(from, to);
        match traffic {
            Traffic::Tcp(port) => {
                ip.step().tcp(source, port, number, 1024).syn().write(&mut bytes, &[]).expect("a SYN")
            }
            Traffic::Udp(port) => {
                ip.step().udp(source, port).write(&mut bytes, &number.to_be_bytes()).expect("a datagram");
            }
            Traffic::Sctp(port) => {
                let init = sctp_init(source, port, number);
                ip.step().write(&mut bytes, IpNumber::SCTP, &init).expect("an INIT");
            }
            Traffic::Icmp => match ip {
                Ip::V4(..) => ip.step().icmpv4_echo_request(low, high).write(&mut bytes, &[]).expect("an echo request"),
                Ip::V6(..) => ip.step().icmpv6_echo_request(low, high).write(&mut bytes, &[]).expect("an echo request"),
            },
        }
        bytes
    }
}

#[derive(Clone, Copy)]
enum Ip {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Ip {
    fn step(self) -> PacketBuilderStep<etherparse::IpHeaders> {
        const HOPS: u8 = 64;
        match self {
            Ip::V4(from, to) => PacketBuilder::ip(etherparse::IpHeaders::Ipv4(
                etherparse::Ipv4Header::new(0, HOPS, IpNumber::TCP, from, to)
                    .expect("an empty payload is not too long"),
                Default::default(),
            )),
            Ip::V6(from, to) => PacketBuilder::ip(etherparse::IpHeaders::Ipv6(
                etherparse::Ipv6Header { source: from, destination: to, hop_limit: HOPS, ..Default::default() },
                Default::default(),
            )),
        }
    }
}

/// An SCTP packet with an INIT chunk (RFC 9260, 3.3.2), which connection tracking wants to be whole.
fn sctp_init(source: u16, destination: u16, tag: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend([0; 8]); // verification tag, checksum
    packet.extend([1, 0, 0, 20]); // INIT, its length
    packet.extend(tag.to_be_bytes());
    packet.extend(65_535_u32.to_be_bytes()); // window
    packet.extend([0, 1, 0, 1]); // streams
    packet.extend(1_u32.to_be_bytes()); // first TSN
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    });
    !crc
}

/// The number of an opening packet; none for everything else that is on the way, such as resets.
pub(crate) fn number(packet: &[u8]) -> Option<u32> {
    match packet.first()? >> 4 {
        4 => transport_number(*packet.get(9)?, packet.get(usize::from(packet[0] & 15) * 4..)?),
        _ => transport_number(*packet.get(6)?, packet.get(40..)?),
    }
}

/// The number in what follows the IP header.
pub(crate) fn transport_number(protocol: u8, transport: &[u8]) -> Option<u32> {
    let at = match protocol {
        1 if transport.first() == Some(&8) => 4,
        58 if transport.first() == Some(&128) => 4,
        // A bare SYN, an INIT.
        6 if transport.get(13)? & 0x3f == 2 => 4,
        17 => 8,
        132 if transport.get(12) == Some(&1) => 16,
        _ => return None,
    };
    let number = u32::from_be_bytes(transport.get(at..at + 4)?.try_into().ok()?);
    // Of echo requests identifier and sequence number are the low and the high half.
    Some(if matches!(protocol, 1 | 58) { number.rotate_left(16) } else { number })
}
