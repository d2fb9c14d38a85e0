//! The classic BPF program in front of the capture: the kernel has the interface's kind and the packet's direction at
//! hand, and with it the receive buffer holds nothing but candidates, however much data flows.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_LD, BPF_LDX, BPF_MSH,
    BPF_RET, BPF_W,
};
use socket2::SockFilter;

/// From linux/filter.h (SKF_AD_OFF): where loads find a packet's metadata instead of its bytes.
const METADATA: u32 = -0x1000_i32 as u32;
/// SKF_AD_PKTTYPE.
const PACKET_TYPE: u32 = METADATA + 4;
/// SKF_AD_HATYPE.
const HARDWARE_TYPE: u32 = METADATA + 28;

/// One line of the program: its label, what it does with which number, and where to go if a comparison holds or does not.
/// No label means the next line.
type Instruction = (&'static str, u32, u32, &'static str, &'static str);

/// Passes TCP SYNs without ACK, UDP datagrams, SCTP INITs and echo requests that came in for this host on other interfaces than the
/// loopback, of fragments the first, cut to `snap` bytes. Expects the network header at offset 0 (a packet socket of type DGRAM).
pub(crate) fn opening(snap: u32) -> Vec<SockFilter> {
    #[rustfmt::skip]
    let program = [
        ("",     BPF_LD | BPF_W | BPF_ABS,   PACKET_TYPE,                       "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          u32::from(libc::PACKET_HOST),      "",     "drop"),
        ("",     BPF_LD | BPF_W | BPF_ABS,   HARDWARE_TYPE,                     "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          u32::from(libc::ARPHRD_LOOPBACK),  "drop", ""),
        ("",     BPF_LD | BPF_B | BPF_ABS,   0,                                 "",     ""),
        ("",     BPF_ALU | BPF_AND,          0xf0,                              "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          0x40,                              "ipv4", ""),
        ("",     BPF_JMP | BPF_JEQ,          0x60,                              "ipv6", "drop"),
        // Later fragments have no ports. X becomes the header's length, A the protocol.
        ("ipv4", BPF_LD | BPF_H | BPF_ABS,   6,                                 "",     ""),
        ("",     BPF_JMP | BPF_JSET,         0x1fff,                            "drop", ""),
        ("",     BPF_LDX | BPF_B | BPF_MSH,  0,                                 "",     ""),
        ("",     BPF_LD | BPF_B | BPF_ABS,   9,                                 "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          libc::IPPROTO_ICMP as u32,         "ping", "port"),
        // Without extension headers, which probes do not have; but for that of a fragment.
        ("ipv6", BPF_LDX | BPF_W | BPF_IMM,  40,                                "",     ""),
        ("",     BPF_LD | BPF_B | BPF_ABS,   6,                                 "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          libc::IPPROTO_FRAGMENT as u32,     "",     "type6"),
        ("",     BPF_LD | BPF_H | BPF_ABS,   42,                                "",     ""),
        ("",     BPF_JMP | BPF_JSET,         0xfff8,                            "drop", ""),
        ("",     BPF_LDX | BPF_W | BPF_IMM,  48,                                "",     ""),
        ("",     BPF_LD | BPF_B | BPF_ABS,   40,                                "",     ""),
        ("type6", BPF_JMP | BPF_JEQ,         libc::IPPROTO_ICMPV6 as u32,       "ping6", "port"),
        ("port", BPF_JMP | BPF_JEQ,          libc::IPPROTO_UDP as u32,          "pass", ""),
        ("",     BPF_JMP | BPF_JEQ,          libc::IPPROTO_SCTP as u32,         "sctp", ""),
        ("",     BPF_JMP | BPF_JEQ,          libc::IPPROTO_TCP as u32,          "",     "drop"),
        // SYN set, ACK not.
        ("",     BPF_LD | BPF_B | BPF_IND,   13,                                "",     ""),
        ("",     BPF_ALU | BPF_AND,          0x12,                              "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          0x02,                              "pass", "drop"),
        // The first chunk is an INIT.
        ("sctp", BPF_LD | BPF_B | BPF_IND,   12,                                "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          1,                                 "pass", "drop"),
        ("ping", BPF_LD | BPF_B | BPF_IND,   0,                                 "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          8,                                 "pass", "drop"),
        ("ping6", BPF_LD | BPF_B | BPF_IND,  0,                                 "",     ""),
        ("",     BPF_JMP | BPF_JEQ,          128,                               "pass", "drop"),
        ("pass", BPF_RET,                    snap,                              "",     ""),
        ("drop", BPF_RET,                    0,                                 "",     ""),
    ];
    assemble(&program)
}

fn assemble(program: &[Instruction]) -> Vec<SockFilter> {
    let distance = |from: usize, label: &str| match label {
        "" => 0,
        // A label that is missing would be a bug of this file; the kernel refuses a jump out of the program.
        _ => program.iter().position(|(at, ..)| *at == label).map_or(u8::MAX, |to| (to - from - 1) as u8),
    };
    let line = |(at, &(_, code, number, yes, no)): (usize, &Instruction)| {
        SockFilter::new(code as u16, distance(at, yes), distance(at, no), number)
    };
    program.iter().enumerate().map(line).collect()
}
