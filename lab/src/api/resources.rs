//! The kinds that are served, in one table: routes, discovery, tables and the store all read it.

/// One kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// The `kind` of an object.
    pub kind: &'static str,
    /// Resource name in paths.
    pub plural: &'static str,
    /// Singular name for people.
    pub singular: &'static str,
    /// Abbreviations that kubectl takes.
    pub short_names: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `status` is a subresource, written apart from the rest.
    pub has_status: bool,
    /// Groups of kinds that kubectl takes, such as `all`.
    pub categories: &'static [&'static str],
    /// The kind as which objects are stored, if this one is only another form of them.
    pub(crate) stored_as: Option<&'static Kind>,
    /// Position in [`KINDS`]: the store's index.
    pub(crate) index: usize,
}

impl Kind {
    /// The kind as which the store holds objects: itself, but for other forms of the same objects.
    pub(crate) fn stored(&'static self) -> &'static Kind {
        self.stored_as.unwrap_or(self)
    }

    /// `apiVersion` of an object: `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural` or `plural.group`, as messages name the resource.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Prefix of the group's paths: `/api/v1` or `/apis/group/version`.
    pub fn prefix(&self) -> String {
        if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}", self.api_version()) }
    }
}

const fn core(index: usize, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        namespaced: true,
        has_status: false,
        categories: &[],
        stored_as: None,
        index,
    }
}

/// v1 Namespace.
pub static NAMESPACE: &Kind = &Kind {
    short_names: &["ns"],
    namespaced: false,
    has_status: true,
    ..core(0, "Namespace", "namespaces", "namespace")
};
/// v1 Node.
pub static NODE: &Kind =
    &Kind { short_names: &["no"], namespaced: false, has_status: true, ..core(1, "Node", "nodes", "node") };
/// v1 Pod.
pub static POD: &Kind =
    &Kind { short_names: &["po"], has_status: true, categories: &["all"], ..core(2, "Pod", "pods", "pod") };
/// v1 Service.
pub static SERVICE: &Kind = &Kind {
    short_names: &["svc"],
    has_status: true,
    categories: &["all"],
    ..core(3, "Service", "services", "service")
};
/// v1 ServiceAccount.
pub static SERVICE_ACCOUNT: &Kind =
    &Kind { short_names: &["sa"], ..core(4, "ServiceAccount", "serviceaccounts", "serviceaccount") };
/// v1 ConfigMap.
pub static CONFIG_MAP: &Kind = &Kind { short_names: &["cm"], ..core(5, "ConfigMap", "configmaps", "configmap") };
/// v1 Secret.
pub static SECRET: &Kind = &core(6, "Secret", "secrets", "secret");
/// v1 Event.
pub static EVENT: &Kind = &Kind { short_names: &["ev"], ..core(7, "Event", "events", "event") };
/// networking.k8s.io/v1 NetworkPolicy.
pub static NETWORK_POLICY: &Kind = &Kind {
    group: "networking.k8s.io",
    short_names: &["netpol"],
    ..core(8, "NetworkPolicy", "networkpolicies", "networkpolicy")
};

/// apps/v1 DaemonSet. It is kept and given back; no controller of the lab makes pods of it, which a warning says.
pub static DAEMON_SET: &Kind = &Kind {
    group: "apps",
    short_names: &["ds"],
    has_status: true,
    categories: &["all"],
    ..core(9, "DaemonSet", "daemonsets", "daemonset")
};
/// rbac.authorization.k8s.io/v1 ClusterRole. It is kept and given back; in the lab everybody may do everything.
pub static CLUSTER_ROLE: &Kind = &Kind {
    group: "rbac.authorization.k8s.io",
    namespaced: false,
    ..core(10, "ClusterRole", "clusterroles", "clusterrole")
};
/// rbac.authorization.k8s.io/v1 ClusterRoleBinding, kept like ClusterRole.
pub static CLUSTER_ROLE_BINDING: &Kind = &Kind {
    group: "rbac.authorization.k8s.io",
    namespaced: false,
    ..core(11, "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding")
};
/// rbac.authorization.k8s.io/v1 Role, kept like ClusterRole.
pub static ROLE: &Kind = &Kind { group: "rbac.authorization.k8s.io", ..core(12, "Role", "roles", "role") };
/// rbac.authorization.k8s.io/v1 RoleBinding, kept like ClusterRole.
pub static ROLE_BINDING: &Kind =
    &Kind { group: "rbac.authorization.k8s.io", ..core(13, "RoleBinding", "rolebindings", "rolebinding") };
/// discovery.k8s.io/v1 EndpointSlice.
pub static ENDPOINT_SLICE: &Kind =
    &Kind { group: "discovery.k8s.io", ..core(14, "EndpointSlice", "endpointslices", "endpointslice") };
/// coordination.k8s.io/v1 Lease.
pub static LEASE: &Kind = &Kind { group: "coordination.k8s.io", ..core(15, "Lease", "leases", "lease") };

/// Every kind that is stored, in the order of [`Kind::index`].
pub static KINDS: [&Kind; 16] = [
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SECRET,
    EVENT,
    NETWORK_POLICY,
    DAEMON_SET,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    ENDPOINT_SLICE,
    LEASE,
];

/// events.k8s.io/v1 Event: the events of the core group with their fields named anew.
pub static EVENTS_EVENT: &Kind = &Kind {
    group: "events.k8s.io",
    short_names: &["ev"],
    stored_as: Some(EVENT),
    ..core(7, "Event", "events", "event")
};

/// Every kind that is served: those that are stored, and other forms of them.
pub fn served() -> impl Iterator<Item = &'static Kind> {
    KINDS.into_iter().chain([EVENTS_EVENT])
}

/// The kind served under `plural` in `group`/`version`, if any.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    served().find(|k| k.group == group && k.version == version && k.plural == plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_index() {
        for (position, kind) in KINDS.iter().enumerate() {
            assert_eq!(kind.index, position, "{}", kind.kind);
        }
        for kind in served() {
            assert_eq!(kind.index, kind.stored().index, "{}", kind.kind);
        }
    }
}
