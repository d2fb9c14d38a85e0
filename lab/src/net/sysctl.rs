//! Kernel settings of a network namespace, through `/proc/sys/net` of a thread inside it.

use std::io;
use std::path::Path;

/// Writes `value` to `/proc/sys/<name>`; the error names the setting.
pub(crate) fn set(name: &str, value: &str) -> io::Result<()> {
    std::fs::write(Path::new("/proc/sys").join(name), value)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set /proc/sys/{name} to {value:?}: {error}")))
}

/// What every namespace of the lab has: no IPv6 as long as the lab has no addresses for it.
pub(crate) fn without_ipv6() -> io::Result<()> {
    // A kernel without IPv6 has no such files.
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    set("net/ipv6/conf/all/disable_ipv6", "1")?;
    set("net/ipv6/conf/default/disable_ipv6", "1")
}

/// A namespace that routes between links.
pub(crate) fn routing() -> io::Result<()> {
    set("net/ipv4/ip_forward", "1")
}

/// What a pod gets beyond the defaults: sockets for ping without privilege, and low ports, as container runtimes give.
pub(crate) fn pod() -> io::Result<()> {
    // Group ids must be mapped in this user namespace, so a rootless lab can grant group 0 only.
    set("net/ipv4/ping_group_range", "0 2147483647").or_else(|_| set("net/ipv4/ping_group_range", "0 0"))?;
    set("net/ipv4/ip_unprivileged_port_start", "0")
}
