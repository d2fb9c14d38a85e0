//! From a refused operation to its cause and the way out, as a table.

use std::fmt;
use std::path::Path;

use super::{Failure, Operation};

/// What is known of the machine when something was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1, as on Ubuntu since 23.10.
    pub(crate) apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` is 0, as on older Debian.
    pub(crate) userns_clone_off: bool,
    /// `user.max_user_namespaces` is 0.
    pub(crate) no_user_namespaces: bool,
    /// This is a container: `/.dockerenv`, `/run/.containerenv` or the variable `container` exists.
    pub(crate) container: bool,
    /// A seccomp filter is at work on this process.
    pub(crate) seccomp: bool,
}

impl Machine {
    /// Reads the facts.
    pub(crate) fn read() -> Machine {
        let is = |name: &str, value: &str| {
            std::fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Machine {
            apparmor_restricts: is("kernel/apparmor_restrict_unprivileged_userns", "1"),
            userns_clone_off: is("kernel/unprivileged_userns_clone", "0"),
            no_user_namespaces: is("user/max_user_namespaces", "0"),
            container: Path::new("/.dockerenv").exists()
                || Path::new("/run/.containerenv").exists()
                || std::env::var_os("container").is_some(),
            seccomp: status.lines().any(|line| line.starts_with("Seccomp:") && !line.ends_with('0')),
        }
    }
}

/// Cause and remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remedy {
    /// Why it is probably refused.
    pub(crate) cause: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

struct Row {
    applies: fn(&Failure, &Machine) -> bool,
    cause: &'static str,
    remedy: &'static str,
}

fn denied(failure: &Failure) -> bool {
    matches!(failure.errno, libc::EPERM | libc::EACCES)
}

fn unsupported(failure: &Failure) -> bool {
    matches!(failure.errno, libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EINVAL)
}

/// First match wins: particular causes before general ones.
const TABLE: &[Row] = &[
    Row {
        applies: |f, m| f.rootless && denied(f) && m.apparmor_restricts,
        cause: "AppArmor takes the capabilities of user namespaces away (kernel.apparmor_restrict_unprivileged_userns=1, \
                Ubuntu's default)",
        remedy: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run netpol with sudo",
    },
    Row {
        applies: |f, m| f.operation == Operation::UserNamespace && denied(f) && m.userns_clone_off,
        cause: "user namespaces are for root only (kernel.unprivileged_userns_clone=0)",
        remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run netpol with sudo",
    },
    Row {
        applies: |f, m| f.operation == Operation::UserNamespace && (m.no_user_namespaces || f.errno == libc::ENOSPC),
        cause: "no user namespace may be made, or too many exist (user.max_user_namespaces)",
        remedy: "sudo sysctl -w user.max_user_namespaces=15000, or run netpol with sudo",
    },
    Row {
        applies: |f, _| f.errno == libc::ENOSPC,
        cause: "there are too many namespaces of this kind (user.max_{mnt,pid,net}_namespaces), or they are nested too deep",
        remedy: "end what holds them, or raise the limit with sysctl",
    },
    Row {
        applies: |f, m| f.operation == Operation::Proc && denied(f) && (m.container || f.rootless),
        cause: "parts of the present /proc are covered by other mounts, as container engines do it, and the kernel then \
                refuses a fresh one in a user namespace",
        remedy: "run the container with --privileged, or with --security-opt systempaths=unconfined; outside of a \
                 container, run netpol with sudo",
    },
    Row {
        applies: |f, m| denied(f) && (m.container || m.seccomp),
        cause: "the container's seccomp filter or missing capabilities forbid it",
        remedy: "run the container with --privileged, or with --security-opt seccomp=unconfined \
                 --cap-add SYS_ADMIN --cap-add NET_ADMIN",
    },
    Row {
        applies: |f, _| {
            f.errno == libc::ENOSYS || (f.operation <= Operation::NetworkNamespace && f.errno == libc::EINVAL)
        },
        cause: "the kernel was built without this kind of namespace",
        remedy: "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_NET_NS",
    },
    Row {
        applies: |f, _| f.operation == Operation::Bridge && unsupported(f),
        cause: "the kernel has no bridge, or its module is not loaded, which only the host's root may do",
        remedy: "sudo modprobe bridge",
    },
    Row {
        applies: |f, _| f.operation == Operation::Veth && unsupported(f),
        cause: "the kernel has no veth, or its module is not loaded, which only the host's root may do",
        remedy: "sudo modprobe veth",
    },
    Row {
        applies: |f, _| f.operation == Operation::PacketSocket && unsupported(f),
        cause: "the kernel has no packet sockets, or their module is not loaded",
        remedy: "sudo modprobe af_packet",
    },
    Row {
        applies: |f, _| f.operation == Operation::Nftables && unsupported(f),
        cause: "parts of nftables are missing in the kernel, or their modules are not loaded",
        remedy: "sudo modprobe -a nf_tables nft_ct nft_fib_inet nft_nat nft_chain_nat nft_reject_inet nf_conntrack; \
                 kernels before 5.10 are too old",
    },
    Row {
        applies: |f, _| denied(f),
        cause: "this user may not do it, not even in a user namespace",
        remedy: "run netpol with sudo",
    },
    Row {
        applies: |_, _| true,
        cause: "unknown",
        remedy: "try netpol with sudo; if that fails too, this kernel lacks what the lab needs: use another target, \
                 such as kubeconfig:FILE",
    },
];

/// The remedy for a failure.
pub(crate) fn remedy(failure: &Failure, machine: &Machine) -> Remedy {
    let row = TABLE.iter().find(|row| (row.applies)(failure, machine)).unwrap_or(&TABLE[TABLE.len() - 1]);
    Remedy { cause: row.cause, remedy: row.remedy }
}

/// A failure with its remedy, as people read it.
pub(crate) struct Explained<'a>(pub(crate) &'a Failure, pub(crate) &'a Machine);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained(failure, machine) = self;
        let Remedy { cause, remedy } = remedy(failure, machine);
        writeln!(f, "the lab cannot {}: {}", failure.operation, failure.detail)?;
        writeln!(f, "  cause:  {cause}")?;
        write!(f, "  remedy: {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, errno: i32, rootless: bool, machine: Machine, expected: &str) {
        let failure = Failure { operation, errno, detail: String::new(), rootless };
        let found = remedy(&failure, &machine).remedy;
        assert!(found.contains(expected), "{failure:?} on {machine:?}: {found}");
    }

    #[test]
    fn every_known_cause_has_its_remedy() {
        let plain = Machine::default;
        let ubuntu = || Machine { apparmor_restricts: true, ..plain() };
        let debian = || Machine { userns_clone_off: true, ..plain() };
        let container = || Machine { container: true, seccomp: true, ..plain() };
        use Operation::*;
        check(UserNamespace, libc::EPERM, true, ubuntu(), "apparmor_restrict_unprivileged_userns=0");
        check(MountNamespace, libc::EPERM, true, ubuntu(), "apparmor_restrict_unprivileged_userns=0");
        check(UserMap, libc::EACCES, true, ubuntu(), "apparmor_restrict_unprivileged_userns=0");
        check(UserNamespace, libc::EPERM, true, debian(), "unprivileged_userns_clone=1");
        check(UserNamespace, libc::ENOSPC, true, plain(), "user.max_user_namespaces");
        check(NetworkNamespace, libc::ENOSPC, true, plain(), "raise the limit");
        check(UserNamespace, libc::EPERM, true, container(), "seccomp=unconfined");
        check(Proc, libc::EPERM, true, container(), "systempaths=unconfined");
        check(UserNamespace, libc::EINVAL, true, plain(), "CONFIG_USER_NS");
        check(Bridge, libc::EOPNOTSUPP, true, plain(), "modprobe bridge");
        check(Veth, libc::EOPNOTSUPP, false, plain(), "modprobe veth");
        check(PacketSocket, libc::EAFNOSUPPORT, false, plain(), "modprobe af_packet");
        check(Nftables, libc::ENOENT, true, plain(), "nf_tables");
        check(UserNamespace, libc::EPERM, true, plain(), "with sudo");
        check(IpForward, libc::EIO, true, plain(), "another target");
    }

    #[test]
    fn apparmor_is_not_blamed_for_root() {
        let ubuntu = Machine { apparmor_restricts: true, ..Machine::default() };
        check(Operation::Veth, libc::EOPNOTSUPP, false, ubuntu, "modprobe veth");
    }

    #[test]
    fn the_message_names_operation_cause_and_remedy() {
        let failure = Failure {
            operation: Operation::Veth,
            errno: libc::EOPNOTSUPP,
            detail: "not supported".into(),
            rootless: true,
        };
        let text = Explained(&failure, &Machine::default()).to_string();
        assert!(
            text.starts_with("the lab cannot add a veth pair: not supported\n  cause:  the kernel has no veth"),
            "{text}"
        );
        assert!(text.ends_with("remedy: sudo modprobe veth"), "{text}");
    }
}
