//! Network namespaces, as root or as an ordinary user, and packet sockets in them: the one place where `unsafe` is needed.

#![expect(
    unsafe_code,
    reason = "unshare changes what a process or a thread sees, pre_exec runs between fork and exec, and packet sockets have no \
              safe address type"
)]

use std::fs::File;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs, io, thread};

use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space, unshare_unsafe,
};

/// Set in the process that is already within.
const WITHIN: &str = "NETPOL_DIFFERENTIAL_WITHIN";
/// How a test that went through ends within: not zero, which is also the end of a program that found no such test.
const PASSED: i32 = 42;

/// Starts this test program again for the test of this name in a network namespace of its own, and runs `body` there. Who may
/// not make one gets a user namespace around it.
pub(crate) fn in_scratch_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(WITHIN).is_some() {
        body();
        std::process::exit(PASSED);
    }
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let capable = capabilities(None).expect("own capabilities").effective.contains(needed);
    let (uid_map, gid_map) = (format!("0 {} 1", geteuid().as_raw()), format!("0 {} 1", getegid().as_raw()));
    let enter = move || -> io::Result<()> {
        let user = if capable { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
        // SAFETY: the new process has one thread and shares no descriptor table with another.
        unsafe { unshare_unsafe(user | UnshareFlags::NEWNET) }?;
        if !capable {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            fs::write("/proc/self/gid_map", &gid_map)?;
        }
        Ok(())
    };
    let mut command = Command::new(env::current_exe().expect("the test's own path"));
    command.args([test, "--exact", "--nocapture", "--include-ignored"]).env(WITHIN, "1");
    // SAFETY: the closure only makes system calls and touches no lock of ours.
    let status = unsafe { command.pre_exec(enter) }.status().expect("the test runs again");
    assert_eq!(status.code(), Some(PASSED), "{test} failed in its scratch namespace: {status}");
}

/// A network namespace without a name: it goes when nothing refers to it any more.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    /// A new one.
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: only this thread moves, and it ends after this.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
            Self(File::open("/proc/thread-self/ns/net").expect("the thread's network namespace").into())
        });
        made.join().expect("the thread that makes a namespace")
    }

    /// Runs `body` within, on a thread of its own. Sockets that it makes stay there.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let within = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter");
                body()
            });
            within.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How a packet socket sees packets.
#[derive(Clone, Copy)]
pub(crate) enum Packets {
    /// Whole frames, for sending by the interface of this index.
    FramesBy(u32),
    /// Packets of this EtherType without their link header, as they come in by any interface.
    Arriving(u16),
}

/// A packet socket of the thread's namespace, which never blocks.
pub(crate) fn packet_socket(packets: Packets) -> io::Result<OwnedFd> {
    let (kind, protocol, index) = match packets {
        Packets::FramesBy(index) => (libc::SOCK_RAW, 0, index),
        Packets::Arriving(ether_type) => (libc::SOCK_DGRAM, ether_type, 0),
    };
    // SAFETY: no memory is handed over; the result is checked before it is owned.
    let socket = unsafe {
        let fd =
            libc::socket(libc::AF_PACKET, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol.to_be().into());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zeros is a value of this structure of numbers.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address outlives the call, and its size is given.
    let bound = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
