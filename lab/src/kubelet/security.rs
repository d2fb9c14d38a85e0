//! The security context of a container: what of it the lab does. The rest is refused by `unsupported`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;
use rustix::thread::CapabilitySet;

/// What holds for every process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    /// Capabilities that its processes must not have.
    pub(crate) drop_capabilities: Arc<[CapabilitySet]>,
    pub(crate) no_new_privileges: bool,
}

/// What container runtimes leave to a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl Security {
    /// Of a container. One that names no capabilities keeps all that the lab has: its agents capture packets, and
    /// enforcers write rules. One that names some has the runtimes' default with what it adds and without what it drops.
    pub(crate) fn of(container: &Container) -> Security {
        let context = container.security_context.clone().unwrap_or_default();
        let no_new_privileges = context.allow_privilege_escalation == Some(false);
        let named = context.capabilities.filter(|_| context.privileged != Some(true)).unwrap_or_default();
        let (add, drop) = (named.add.unwrap_or_default(), named.drop.unwrap_or_default());
        if add.is_empty() && drop.is_empty() {
            return Security { drop_capabilities: Arc::default(), no_new_privileges };
        }
        let lists = |list: &[String], name: &str| {
            list.iter().any(|item| item == "ALL" || item.strip_prefix("CAP_").unwrap_or(item) == name)
        };
        let keeps = |name: &str| lists(&add, name) || DEFAULT.contains(&name) && !lists(&drop, name);
        let dropped =
            CapabilitySet::all().iter_names().filter(|(name, _)| !keeps(name)).map(|(_, capability)| capability);
        Security { drop_capabilities: dropped.collect(), no_new_privileges }
    }

    /// The first capability of a list that the kernel does not know.
    pub(crate) fn unknown<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
        let known = |name: &str| name == "ALL" || CapabilitySet::from_name(name).is_some();
        names.find(|name| !known(name.strip_prefix("CAP_").unwrap_or(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dropped(capabilities: serde_json::Value) -> CapabilitySet {
        let container = json!({"name": "c", "securityContext": {"capabilities": capabilities}});
        let container = serde_json::from_value(container).expect("a container");
        Security::of(&container).drop_capabilities.iter().copied().collect()
    }

    #[test]
    fn capabilities_are_counted_from_the_runtimes_default() {
        assert!(dropped(json!({})).is_empty(), "one that asks for nothing keeps what the lab has");
        // `all()` has bits that no capability has yet.
        let all: CapabilitySet = CapabilitySet::all().iter_names().map(|(_, capability)| capability).collect();
        assert_eq!(dropped(json!({"drop": ["ALL"]})), all);
        let all_but_admin = all - CapabilitySet::NET_ADMIN;
        assert_eq!(dropped(json!({"drop": ["ALL"], "add": ["CAP_NET_ADMIN"]})), all_but_admin);
        let raw = dropped(json!({"drop": ["NET_RAW"]}));
        assert!(raw.contains(CapabilitySet::NET_RAW | CapabilitySet::SYS_ADMIN) && !raw.contains(CapabilitySet::KILL));
    }
}
