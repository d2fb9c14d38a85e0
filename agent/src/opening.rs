//! Which packets begin a probe: a SYN, a datagram, an INIT or an echo request from a probe's port or identifier.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpNumber, Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket,
    TransportSlice, UdpHeaderSlice,
};
use netpol_wire::{Proto, Token};

use crate::sctp;

/// What tells probes apart: tuple id and protocol, source, destination port.
pub(crate) type Opening = (u16, Proto, IpAddr, Option<u16>);

/// The probe that a packet begins. Of a fragmented datagram the first fragment does: the others have no ports.
pub(crate) fn opening(packet: &[u8]) -> Option<Opening> {
    // Lax, because the buffer cuts long packets off.
    let packet = LaxSlicedPacket::from_ip(packet).ok()?;
    let net = packet.net.as_ref()?;
    let src = source(net)?;
    let Some(transport) = &packet.transport else { return unparsed(net, src) };
    let (id, proto, port) = match transport {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => {
            (tcp.source_port(), Proto::Tcp, Some(tcp.destination_port()))
        }
        TransportSlice::Udp(udp) => (udp.source_port(), Proto::Udp, Some(udp.destination_port())),
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoRequest(echo) => (echo.id, Proto::Icmp, None),
            _ => return None,
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoRequest(echo) => (echo.id, Proto::Icmp, None),
            _ => return None,
        },
        _ => return None,
    };
    Token::owns(id).then_some((id, proto, src, port))
}

/// What the parser hands out as mere bytes: an SCTP INIT, and the first fragment of a datagram.
fn unparsed(net: &LaxNetSlice<'_>, src: IpAddr) -> Option<Opening> {
    let LaxIpPayloadSlice { payload, ip_number, fragmented, .. } = net.ip_payload_ref()?;
    let (from, proto, to) = match *ip_number {
        IpNumber::SCTP => {
            let sctp = sctp::Packet::parse(payload)?;
            matches!(sctp.chunk, sctp::Chunk::Init(_)).then_some((sctp.from, Proto::Sctp, sctp.to))?
        }
        IpNumber::UDP if *fragmented && is_first(net) => {
            let udp = UdpHeaderSlice::from_slice(payload).ok()?;
            (udp.source_port(), Proto::Udp, udp.destination_port())
        }
        _ => return None,
    };
    Token::owns(from).then_some((from, proto, src, Some(to)))
}

/// Whether this fragment is where its datagram begins.
fn is_first(net: &LaxNetSlice<'_>) -> bool {
    match net {
        LaxNetSlice::Ipv4(ip) => ip.header().fragments_offset().value() == 0,
        LaxNetSlice::Ipv6(ip) => ip.extensions().clone().into_iter().all(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(fragment) => fragment.fragment_offset().value() == 0,
            _ => true,
        }),
        LaxNetSlice::Arp(_) => false,
    }
}

fn source(net: &LaxNetSlice<'_>) -> Option<IpAddr> {
    match net {
        LaxNetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Arp(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder, UdpHeader};

    const SOURCE: [u8; 4] = [10, 1, 1, 2];
    const SOURCE_V6: [u8; 16] = [0xfd; 16];
    /// As much as the capture copies.
    const SNAP: usize = 256;

    fn syn(source_port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(SOURCE, [10, 1, 2, 3], 64)
            .tcp(source_port, 8888, 1, 1000)
            .syn()
            .write(&mut packet, &[])
            .unwrap();
        packet
    }

    /// A piece of a datagram of 10,000 bytes, with a UDP header's eight bytes at its beginning, whatever it is.
    fn fragments(offset: u16, more: bool) -> [Vec<u8>; 2] {
        let udp = UdpHeader { source_port: 10_001, destination_port: 53, length: 10_008, checksum: 0 }.to_bytes();
        let payload = [&udp[..], &[0; 1440]].concat();
        let offset = IpFragOffset::try_new(offset).unwrap();
        let mut v4 = Ipv4Header::new(payload.len() as u16, 64, IpNumber::UDP, SOURCE, [10, 1, 2, 3]).unwrap();
        (v4.fragment_offset, v4.more_fragments) = (offset, more);
        let v6 = Ipv6Header {
            payload_length: 8 + payload.len() as u16,
            next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
            source: SOURCE_V6,
            destination: [0xfe; 16],
            ..Ipv6Header::default()
        };
        let extension = Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, 7);
        [[&v4.to_bytes()[..], &payload].concat(), [&v6.to_bytes()[..], &extension.to_bytes(), &payload].concat()]
    }

    #[test]
    fn opening_packets_of_probes_are_recognised() {
        let src = IpAddr::from(SOURCE);
        assert_eq!(opening(&syn(10_361)), Some((10_361, Proto::Tcp, src, Some(8888))));
        let ip = || PacketBuilder::ipv4(SOURCE, [10, 1, 2, 3], 64);
        let mut packet = Vec::new();
        ip().udp(10_000, 53).write(&mut packet, &[0; 1000]).unwrap();
        assert_eq!(opening(&packet[..SNAP]), Some((10_000, Proto::Udp, src, Some(53))), "cut off");
        packet.clear();
        ip().icmpv4_echo_request(29_999, 1).write(&mut packet, b"x").unwrap();
        assert_eq!(opening(&packet), Some((29_999, Proto::Icmp, src, None)));
        packet.clear();
        let (from, to) = ([0xfd; 16], [0xfe; 16]);
        PacketBuilder::ipv6(from, to, 64).icmpv6_echo_request(20_000, 1).write(&mut packet, b"x").unwrap();
        assert_eq!(opening(&packet), Some((20_000, Proto::Icmp, from.into(), None)));
    }

    #[test]
    fn other_packets_are_not() {
        assert_eq!(opening(&syn(40_000)), None, "not a probe's port");
        let ip = || PacketBuilder::ipv4(SOURCE, [10, 1, 2, 3], 64);
        let mut packet = Vec::new();
        ip().tcp(10_000, 8888, 1, 1000).syn().ack(1).write(&mut packet, &[]).unwrap();
        assert_eq!(opening(&packet), None, "the answer to a SYN");
        packet.clear();
        ip().icmpv4_echo_reply(10_000, 1).write(&mut packet, &[]).unwrap();
        assert_eq!(opening(&packet), None, "the answer to a ping");
        assert_eq!(opening(&[]), None);
        assert_eq!(opening(&[0x45, 0, 0]), None);
    }

    #[test]
    fn of_a_fragmented_datagram_the_first_fragment_counts() {
        let opened = |packets: [Vec<u8>; 2]| packets.map(|packet| opening(&packet[..SNAP]));
        let wanted = |src| Some((10_001, Proto::Udp, src, Some(53)));
        assert_eq!(opened(fragments(0, true)), [wanted(SOURCE.into()), wanted(SOURCE_V6.into())]);
        assert_eq!(opened(fragments(181, true)), [None, None], "one in the middle");
        assert_eq!(opened(fragments(1086, false)), [None, None], "the last one");
    }
}
