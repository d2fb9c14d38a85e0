//! SCTP's opening packets by hand (RFC 9260), for kernels that come without it: an INIT, and the INIT-ACK that answers it.

use netpol_wire::Token;

/// SCTP's common header.
const HEADER: usize = 12;
/// An INIT chunk, or an INIT-ACK without its cookie.
const INIT: usize = 20;
/// The cookie of our INIT-ACKs: type 7, and eight bytes that say whose it is.
const COOKIE: &[u8; 12] = b"\x00\x07\x00\x0cnetpol-1";
/// Type of the chunk that opens an association.
const TYPE_INIT: u8 = 1;
/// Type of its answer.
const TYPE_INIT_ACK: u8 = 2;
/// Type of a refusal.
const TYPE_ABORT: u8 = 6;

/// What a packet's first chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Somebody opens an association; their packets are to carry this tag.
    Init(u32),
    /// Our INIT was answered.
    InitAck,
    /// It was refused.
    Abort,
    /// Something else.
    Other,
}

/// A packet's ports, verification tag and first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) tag: u32,
    pub(crate) chunk: Chunk,
}

impl Packet {
    /// Reads what stands behind the IP header; none if it is too short for a chunk.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let ports = word(0)?;
        let chunk = match *bytes.get(HEADER)? {
            TYPE_INIT => Chunk::Init(word(HEADER + 4)?),
            TYPE_INIT_ACK => Chunk::InitAck,
            TYPE_ABORT => Chunk::Abort,
            _ => Chunk::Other,
        };
        Some(Packet { from: (ports >> 16) as u16, to: ports as u16, tag: word(4)?, chunk })
    }
}

/// The tag that a probe asks its answers to carry. Not zero, which only an INIT may have.
pub(crate) fn tag_of(n: Token) -> u32 {
    n.0 | 0x8000_0000
}

/// The INIT that a probe sends.
pub(crate) fn init(n: Token, to: u16) -> Vec<u8> {
    packet(n.tuple_id(), to, 0, TYPE_INIT, tag_of(n), &[])
}

/// The answer to an INIT.
pub(crate) fn init_ack(init: &Packet, tag: u32) -> Vec<u8> {
    packet(init.to, init.from, tag, TYPE_INIT_ACK, !tag, COOKIE)
}

fn packet(from: u16, to: u16, tag: u32, kind: u8, own_tag: u32, parameters: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + INIT + parameters.len());
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, 0]);
    // A chunk's length is at most 32 here.
    bytes.extend(((INIT + parameters.len()) as u16).to_be_bytes());
    bytes.extend(own_tag.to_be_bytes());
    // Window, outbound and inbound streams, initial sequence number.
    bytes.extend(65_536u32.to_be_bytes());
    bytes.extend([0, 1, 0, 1]);
    bytes.extend(1u32.to_be_bytes());
    bytes.extend(parameters);
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

/// CRC-32C, as SCTP's checksum; connection tracking drops packets whose sum is wrong.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED: u32 = 0x82f6_3b78;
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ REVERSED } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value that catalogues of CRCs give for CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_init_is_read_and_answered_with_its_own_tag() {
        let sent = Packet::parse(&init(Token(7), 80)).unwrap();
        assert_eq!(sent, Packet { from: 10_007, to: 80, tag: 0, chunk: Chunk::Init(tag_of(Token(7))) });
        let answer = Packet::parse(&init_ack(&sent, tag_of(Token(7)))).unwrap();
        assert_eq!(answer, Packet { from: 80, to: 10_007, tag: tag_of(Token(7)), chunk: Chunk::InitAck });
        assert_eq!(Packet::parse(&[0; 12]), None);
    }
}
