//! What the lab needs of the machine, and what to do where it is refused.
//!
//! There is no separate trial run: user, mount, PID and network namespace are made by the very processes that the lab
//! boots with, and what is left (links, netfilter, settings, packet sockets) its init tries in a scratch namespace
//! before anything else starts. So what was tried cannot differ from what is used, and a boot pays milliseconds.

pub(crate) mod checks;
pub(crate) mod remedy;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Something that the kernel must let the lab do, in the order of trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// `unshare(CLONE_NEWUSER)`.
    UserNamespace,
    /// Writing `/proc/self/setgroups`, `uid_map` and `gid_map`.
    UserMap,
    /// `unshare(CLONE_NEWNS)`.
    MountNamespace,
    /// `unshare(CLONE_NEWPID)`.
    PidNamespace,
    /// `unshare(CLONE_NEWNET)`.
    NetworkNamespace,
    /// Making all mounts private to the new namespace.
    PrivateMounts,
    /// Mounting a tmpfs.
    Tmpfs,
    /// Mounting a fresh /proc.
    Proc,
    /// Adding a bridge.
    Bridge,
    /// Adding a veth pair.
    Veth,
    /// Moving a link into another network namespace.
    MoveLink,
    /// Switching on `net.ipv4.ip_forward`.
    IpForward,
    /// Setting `net.ipv4.ping_group_range`.
    PingGroupRange,
    /// Opening an AF_PACKET socket.
    PacketSocket,
    /// An nftables table with conntrack, maps, intervals and NAT.
    Nftables,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::UserNamespace => "make a user namespace",
            Operation::UserMap => "map this user into a user namespace",
            Operation::MountNamespace => "make a mount namespace",
            Operation::PidNamespace => "make a PID namespace",
            Operation::NetworkNamespace => "make a network namespace",
            Operation::PrivateMounts => "make the mounts of a namespace private",
            Operation::Tmpfs => "mount a tmpfs",
            Operation::Proc => "mount a fresh /proc",
            Operation::Bridge => "add a bridge",
            Operation::Veth => "add a veth pair",
            Operation::MoveLink => "move a veth into another network namespace",
            Operation::IpForward => "set net.ipv4.ip_forward",
            Operation::PingGroupRange => "set net.ipv4.ping_group_range",
            Operation::PacketSocket => "open a packet socket",
            Operation::Nftables => "load a scratch nftables table",
        })
    }
}

/// An operation that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What was tried.
    pub(crate) operation: Operation,
    /// The kernel's answer, 0 if it gave none.
    pub(crate) errno: i32,
    /// The answer in words, with whatever detail is known.
    pub(crate) detail: String,
    /// Whether it happened in a user namespace that the lab made for itself.
    pub(crate) rootless: bool,
}

impl Failure {
    /// Describes an error of `operation`.
    pub(crate) fn new(operation: Operation, error: &io::Error, rootless: bool) -> Failure {
        Failure { operation, errno: errno_of(error), detail: error.to_string(), rootless }
    }
}

/// The errno of an error, also where a message was wrapped around it.
fn errno_of(error: &io::Error) -> i32 {
    if let Some(errno) = error.raw_os_error() {
        return errno;
    }
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<netpol_nft::Error>()) {
        return match error {
            netpol_nft::Error::Unsupported => libc::EOPNOTSUPP,
            netpol_nft::Error::Permission => libc::EPERM,
            netpol_nft::Error::Rejected { failures } => failures.first().map_or(0, |first| first.errno.raw_os_error()),
            netpol_nft::Error::List { errno } => errno.raw_os_error(),
            netpol_nft::Error::Socket { source, .. } => errno_of(source),
            _ => 0,
        };
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => libc::EPERM,
        io::ErrorKind::NotFound => libc::ENOENT,
        _ => 0,
    }
}
