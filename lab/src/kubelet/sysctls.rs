//! The sysctls of a pod, as far as they are of its network.

use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::PodSpec;

use crate::namespaces::NetNs;

/// The sysctls that a pod asks for, as names with dots and values.
pub(super) fn of(spec: &PodSpec) -> Vec<(String, String)> {
    let context = spec.security_context.as_ref();
    let asked = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    asked.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect()
}

/// Whether a sysctl is one of the network namespace's own.
pub(super) fn is_of_network(name: &str) -> bool {
    name.starts_with("net.") && !name.contains(['/', '\0'])
}

const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// Sets them in a pod's namespace.
pub(super) fn write(netns: &NetNs, sysctls: &[(String, String)]) -> io::Result<()> {
    if sysctls.is_empty() {
        return Ok(());
    }
    netns.run(|| {
        sysctls.iter().try_for_each(|(name, value)| {
            let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
            std::fs::write(&path, value)
                .or_else(|error| match (name.as_str(), error.kind()) {
                    // An ordinary user's namespace has group 0 alone, and the kernel refuses a range with others.
                    (PING_GROUPS, io::ErrorKind::InvalidInput) if value.starts_with("0 ") => {
                        std::fs::write(&path, "0 0")
                    }
                    _ => Err(error),
                })
                .map_err(|error| io::Error::new(error.kind(), format!("cannot set sysctl {name}={value}: {error}")))
        })
    })
}
