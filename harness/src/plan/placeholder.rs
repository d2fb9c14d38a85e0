//! `${…}` in strings: parameters of a suite, and addresses and namespaces that are known only later.

use std::net::IpAddr;

use serde_json::Value;

use super::{Bindings, PodRef, Topology};

/// What a placeholder of an object stands for, with its pod or namespace found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// `${ip4:[ns/]pod}`: the pod's IPv4 address.
    Ip4(PodRef),
    /// `${ip6:[ns/]pod}`: the pod's IPv6 address.
    Ip6(PodRef),
    /// `${node-ip4:[ns/]pod}`: the IPv4 address of the pod's node.
    NodeIp4(PodRef),
    /// `${namespace:x}`: the real name of a logical namespace.
    Namespace(String),
}

impl Placeholder {
    /// Reads what stands between `${` and `}`.
    pub(crate) fn parse(inner: &str, topology: &Topology) -> Result<Self, String> {
        let pod = |name: &str| crate::topology::find_pod(topology, name);
        match inner.split_once(':') {
            Some(("ip4", name)) => pod(name).map(Placeholder::Ip4),
            Some(("ip6", name)) => pod(name).map(Placeholder::Ip6),
            Some(("node-ip4", name)) => pod(name).map(Placeholder::NodeIp4),
            Some(("namespace", name)) => crate::topology::find_namespace(topology, name).map(Placeholder::Namespace),
            _ => {
                Err(format!("'${{{inner}}}' is not a placeholder: ip4:POD, ip6:POD, node-ip4:POD, namespace:NAME are"))
            }
        }
    }

    /// The pod whose address it is.
    pub(crate) fn pod(&self) -> Option<&PodRef> {
        match self {
            Placeholder::Ip4(pod) | Placeholder::Ip6(pod) | Placeholder::NodeIp4(pod) => Some(pod),
            Placeholder::Namespace(_) => None,
        }
    }

    fn resolve(&self, bindings: &Bindings) -> Result<String, String> {
        let address = |pod: &PodRef, family: &str, of_node: bool, fits: fn(&IpAddr) -> bool| {
            let bound = bindings.pods.get(pod).ok_or_else(|| format!("pod {pod} has no address yet"))?;
            let ips = if of_node { &bound.node_ips } else { &bound.ips };
            let owner = if of_node { "the node of pod" } else { "pod" };
            let found = ips.iter().copied().find(fits);
            found.map(|ip| ip.to_string()).ok_or_else(|| format!("{owner} {pod} has no {family} address"))
        };
        match self {
            Placeholder::Ip4(pod) => address(pod, "IPv4", false, IpAddr::is_ipv4),
            Placeholder::Ip6(pod) => address(pod, "IPv6", false, IpAddr::is_ipv6),
            Placeholder::NodeIp4(pod) => address(pod, "IPv4", true, IpAddr::is_ipv4),
            Placeholder::Namespace(name) => {
                bindings.namespaces.get(name).cloned().ok_or_else(|| format!("namespace {name} has no real name yet"))
            }
        }
    }
}

/// Something wrong with a placeholder: the place within the value, and what.
pub(crate) type Misplaced = (String, String);

/// The value with every placeholder replaced.
///
/// # Errors
/// All placeholders that are unknown or have no address, with their places below `path`.
pub(crate) fn bind(
    value: &Value,
    path: &str,
    topology: &Topology,
    bindings: &Bindings,
) -> Result<Value, Vec<Misplaced>> {
    let mut wrong = Vec::new();
    let bound = map_strings(value, path, &mut |text, place| {
        let replaced = replace(text, |inner| Placeholder::parse(inner, topology)?.resolve(bindings).map(Some));
        Value::String(replaced.unwrap_or_else(|whats| {
            wrong.extend(whats.into_iter().map(|what| (place.to_owned(), what)));
            text.to_owned()
        }))
    });
    if wrong.is_empty() { Ok(bound) } else { Err(wrong) }
}

/// The value with every string passed through `change`, which is told the string's place.
pub(crate) fn map_strings(value: &Value, path: &str, change: &mut dyn FnMut(&str, &str) -> Value) -> Value {
    match value {
        Value::String(text) => change(text, path),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            Value::Array(items.map(|(index, item)| map_strings(item, &format!("{path}[{index}]"), change)).collect())
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields.map(|(key, item)| (key.clone(), map_strings(item, &join(path, key), change))).collect(),
            )
        }
        other => other.clone(),
    }
}

/// `path.key`, or `key` at the root.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The text with each `${inner}` replaced by what `resolve` gives; where it gives none, the placeholder stands.
///
/// # Errors
/// All that `resolve` refuses, and a `${` without its `}`.
pub(crate) fn replace(
    text: &str,
    mut resolve: impl FnMut(&str) -> Result<Option<String>, String>,
) -> Result<String, Vec<String>> {
    let (mut done, mut rest, mut wrong) = (String::new(), text, Vec::new());
    while let Some((before, behind)) = rest.split_once("${") {
        done.push_str(before);
        let Some((inner, after)) = behind.split_once('}') else {
            wrong.push(format!("'${{{behind}' has no closing brace"));
            rest = "";
            break;
        };
        match resolve(inner) {
            Ok(Some(value)) => done.push_str(&value),
            Ok(None) => done.push_str(&format!("${{{inner}}}")),
            Err(what) => wrong.push(what),
        }
        rest = after;
    }
    done.push_str(rest);
    if wrong.is_empty() { Ok(done) } else { Err(wrong) }
}
