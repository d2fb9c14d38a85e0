//! Whether the kernel forwards packets, without which no pod reaches another.
//!
//! A node's namespace may come without it, as on engines that run in a network namespace of their own; `ptp` switches it on with
//! the node's first pod, before which nobody needs it. So it hinders no configuration from being written.

use std::fs;
use std::path::Path;

use ipnet::IpNet;

use super::problems::Problem;

/// Checks the setting of each family that pods have, and sets it where that is allowed; what is off and stays off. In a container
/// that is not privileged /proc/sys is read-only; asking for privilege for the sake of one number would be worse than saying so.
pub(super) fn check(pods: &[IpNet]) -> Vec<Problem> {
    let families = [
        (pods.iter().any(|cidr| cidr.addr().is_ipv4()), "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        (
            pods.iter().any(|cidr| cidr.addr().is_ipv6()),
            "net.ipv6.conf.all.forwarding",
            "/proc/sys/net/ipv6/conf/all/forwarding",
        ),
    ];
    let needed = families.into_iter().filter(|(needed, ..)| *needed);
    needed.filter_map(|(_, name, file)| set(name, Path::new(file)).err()).collect()
}

fn set(name: &'static str, file: &Path) -> Result<(), Problem> {
    let refused = |error: std::io::Error| Problem::Forwarding { setting: file.into(), name, error: error.to_string() };
    if fs::read_to_string(file).map_err(refused)?.trim() == "1" {
        return Ok(());
    }
    fs::write(file, "1").map_err(refused)?;
    tracing::info!(setting = name, "switched forwarding on");
    Ok(())
}
