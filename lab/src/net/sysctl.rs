//! Kernel settings of a network namespace, through `/proc/sys/net` of a thread inside it.

use std::io;
use std::path::Path;

use super::addresses::Family;

/// Writes `value` to `/proc/sys/<name>`; the error names the setting.
pub(crate) fn set(name: &str, value: &str) -> io::Result<()> {
    std::fs::write(Path::new("/proc/sys").join(name), value)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set /proc/sys/{name} to {value:?}: {error}")))
}

/// Whether the kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    // Without it there are no such files.
    Path::new("/proc/sys/net/ipv6").exists()
}

/// The families of a namespace, set before it has links. Without IPv6 among them there is not even a link-local address;
/// with it addresses are usable at once, because nobody looks for duplicates, and come from nobody else.
pub(crate) fn families(families: &[Family]) -> io::Result<()> {
    if !has_ipv6() {
        return Ok(());
    }
    let settings: &[(&str, &str)] = if families.contains(&Family::V6) {
        &[("accept_dad", "0"), ("accept_ra", "0")]
    } else {
        &[("disable_ipv6", "1")]
    };
    for (name, value) in settings {
        for links in ["all", "default"] {
            set(&format!("net/ipv6/conf/{links}/{name}"), value)?;
        }
    }
    Ok(())
}

/// A namespace that routes between links.
pub(crate) fn routing(families: &[Family]) -> io::Result<()> {
    for family in families {
        match family {
            Family::V4 => set("net/ipv4/ip_forward", "1")?,
            Family::V6 => set("net/ipv6/conf/all/forwarding", "1")?,
        }
    }
    Ok(())
}

/// What a pod gets beyond the defaults: sockets for ping without privilege, and low ports, as container runtimes give.
pub(crate) fn pod() -> io::Result<()> {
    // Group ids must be mapped in this user namespace, so a rootless lab can grant group 0 only.
    set("net/ipv4/ping_group_range", "0 2147483647").or_else(|_| set("net/ipv4/ping_group_range", "0 0"))?;
    set("net/ipv4/ip_unprivileged_port_start", "0")
}
