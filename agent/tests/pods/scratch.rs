//! Scratch network namespaces, as root and as an ordinary user.
#![expect(unsafe_code, reason = "namespaces are entered between fork and exec")]

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use futures::TryStreamExt;
use netlink_packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Set in the process that runs in the scratch namespace.
const INSIDE: &str = "NETPOL_AGENT_TEST_INSIDE";

/// Runs the body of the test of this name in a process of its own, in a fresh network namespace; without the privilege for
/// that, in a fresh user namespace around it, as its root.
pub(crate) fn in_scratch(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let privileged = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        // CAP_NET_ADMIN and CAP_SYS_ADMIN.
        .is_some_and(|set| set & (1 << 12) != 0 && set & (1 << 21) != 0);
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    // SAFETY: only system calls; the formatted strings are made before the fork.
    unsafe {
        let (uids, gids) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
        command.pre_exec(move || {
            if !privileged {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
                for (file, text) in [("setgroups", "deny"), ("uid_map", &uids), ("gid_map", &gids)] {
                    fs::OpenOptions::new()
                        .write(true)
                        .open(format!("/proc/self/{file}"))?
                        .write_all(text.as_bytes())?;
                }
                return Ok(());
            }
            Ok(rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)?)
        });
    }
    let output = command.output().expect("a scratch namespace: user namespaces must be allowed, or run this as root");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{test} in its namespace: {}\n{out}\n{err}",
        output.status
    );
}

/// A network namespace that lives as long as this handle or a process in it.
#[derive(Debug)]
pub(crate) struct Netns(OwnedFd);

impl Netns {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: a new network namespace for this thread alone touches no memory.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            let netns = Self(fs::File::open("/proc/thread-self/ns/net").unwrap().into());
            netns.configure(|handle| async move {
                let lo = index(&handle, "lo").await;
                handle.link().set(LinkUnspec::new_with_index(lo).up().build()).execute().await.unwrap();
            });
            netns
        });
        made.join().unwrap()
    }

    /// Runs something on a thread in this namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A command that will run in this namespace and not outlive this thread.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let netns = self.0.try_clone().unwrap();
        let mut command = Command::new(program);
        // SAFETY: two system calls.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(())
            });
        }
        command
    }

    /// Talks rtnetlink in this namespace.
    pub(crate) fn configure<F: Future<Output = ()>>(&self, work: impl FnOnce(Handle) -> F + Send) {
        self.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                work(handle).await;
            });
        });
    }

    /// Joins the two by a veth pair: name and /32 address of either end; routes are another matter.
    pub(crate) fn veth(&self, name: &str, address: Ipv4Addr, other: &Self, their_name: &str, theirs: Ipv4Addr) {
        let fd = other.0.as_raw_fd();
        self.configure(|handle| async move {
            handle.link().add(LinkVeth::new(name, their_name).build()).execute().await.unwrap();
            let peer = index(&handle, their_name).await;
            let moved = LinkUnspec::new_with_index(peer).setns_by_fd(fd).build();
            handle.link().set(moved).execute().await.unwrap();
        });
        for (netns, name, address, to) in [(self, name, address, theirs), (other, their_name, theirs, address)] {
            netns.configure(|handle| async move {
                let link = index(&handle, name).await;
                handle.address().add(link, address.into(), 32).execute().await.unwrap();
                handle.link().set(LinkUnspec::new_with_index(link).up().build()).execute().await.unwrap();
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to, 32)
                    .output_interface(link)
                    .scope(RouteScope::Link);
                handle.route().add(route.build()).execute().await.unwrap();
            });
        }
    }

    /// Sets (replaces) a route: through a gateway, or of a kind that goes nowhere.
    pub(crate) fn route(&self, to: Ipv4Addr, prefix: u8, via: Result<Ipv4Addr, RouteType>) {
        self.configure(|handle| async move {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, prefix).priority(0);
            let route = match via {
                Ok(gateway) => route.gateway(gateway),
                Err(kind) => route.kind(kind),
            };
            handle.route().add(route.build()).replace().execute().await.unwrap();
        });
    }

    /// Routes straight out of an interface, as before [`Netns::route`] replaced it.
    pub(crate) fn route_on(&self, to: Ipv4Addr, interface: &str) {
        self.configure(|handle| async move {
            let link = index(&handle, interface).await;
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, 32)
                .output_interface(link)
                .scope(RouteScope::Link);
            handle.route().add(route.build()).replace().execute().await.unwrap();
        });
    }

    /// Gives an interface an address of a network of 64 bits, at once: without asking whether another has it.
    pub(crate) fn address_v6(&self, interface: &str, address: Ipv6Addr) {
        self.sysctl(&format!("ipv6/conf/{interface}/accept_dad"), "0");
        self.configure(|handle| async move {
            let link = index(&handle, interface).await;
            handle.address().add(link, address.into(), 64).execute().await.unwrap();
        });
    }

    /// A route through a gateway.
    pub(crate) fn route_v6(&self, to: Ipv6Addr, prefix: u8, gateway: Ipv6Addr) {
        self.configure(|handle| async move {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, prefix).gateway(gateway);
            handle.route().add(route.build()).execute().await.unwrap();
        });
    }

    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        self.inside(|| fs::write(format!("/proc/sys/net/{name}"), value))
            .unwrap_or_else(|e: io::Error| panic!("{name}: {e}"));
    }
}

async fn index(handle: &Handle, name: &str) -> u32 {
    handle.link().get().match_name(name.to_owned()).execute().try_next().await.unwrap().unwrap().header.index
}

/// Takes the capability for raw and packet sockets away from what this command starts, for good.
pub(crate) fn without_net_raw(command: &mut Command) {
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(|| Ok(rustix::thread::remove_capability_from_bounding_set(CapabilitySet::NET_RAW)?));
    }
}
