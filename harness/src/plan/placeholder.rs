//! `${…}` in strings: parameters of a suite, and addresses and namespaces that are known only later.

use std::net::IpAddr;

use serde_json::Value;

use super::{Bindings, Family, PodRef, Topology};

/// What a placeholder of an object stands for, with its pod, Service or namespace found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// An address of a pod, its node or a Service.
    Address(Form, Owner, Option<Family>),
    /// `${cidr:any}`: every address of a family; by default of the pods' primary one.
    Everything(Option<Family>),
    /// `${namespace:x}`: the real name of a logical namespace.
    Namespace(String),
}

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// As in a URL: IPv6 in brackets.
    Host,
    /// The network that holds it: of this length, or by this many bits shorter than a single address.
    Network(i16),
}

/// Whose address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A pod's.
    Pod(PodRef),
    /// That of the node of a pod.
    NodeOf(PodRef),
    /// A Service's cluster IP.
    Service(PodRef),
}

impl Placeholder {
    /// Reads what stands between `${` and `}`: `ip:POD`, `host:POD`, `cidr:POD`, `cidr:POD/24`, `cidr:POD/-8`, `cidr:any`,
    /// `node-ip:POD`, `node-cidr:POD`, `service-ip:NAME`, each also with the family behind the first word (`ip4`, `cidr6`); and
    /// `namespace:NAME`.
    pub(crate) fn parse(inner: &str, topology: &Topology) -> Result<Self, String> {
        let unknown = || {
            format!(
                "'${{{inner}}}' is not a placeholder: ip:POD, host:POD, cidr:POD, node-ip:POD, node-cidr:POD, service-ip:NAME, \
                 namespace:NAME are, and ip4:POD, cidr6:POD and their like"
            )
        };
        let (word, name) = inner.split_once(':').ok_or_else(unknown)?;
        let (word, family) = match (word.strip_suffix('4'), word.strip_suffix('6')) {
            (Some(word), _) => (word, Some(Family::Ipv4)),
            (_, Some(word)) => (word, Some(Family::Ipv6)),
            _ => (word, None),
        };
        let pod = |name: &str| crate::topology::find_pod(topology, name);
        let network = |name: &str| -> Result<(PodRef, Form), String> {
            // A pod may be written with its namespace; a length is a number.
            match name.rsplit_once('/').and_then(|(name, length)| Some((name, length.parse::<i16>().ok()?))) {
                Some((name, length)) if (-128..=128).contains(&length) => Ok((pod(name)?, Form::Network(length))),
                _ => Ok((pod(name)?, Form::Network(0))),
            }
        };
        match word {
            "ip" => Ok(Placeholder::Address(Form::Plain, Owner::Pod(pod(name)?), family)),
            "host" => Ok(Placeholder::Address(Form::Host, Owner::Pod(pod(name)?), family)),
            "cidr" if name == "any" => Ok(Placeholder::Everything(family)),
            "cidr" => network(name).map(|(pod, form)| Placeholder::Address(form, Owner::Pod(pod), family)),
            "node-ip" => Ok(Placeholder::Address(Form::Plain, Owner::NodeOf(pod(name)?), family)),
            "node-cidr" => network(name).map(|(pod, form)| Placeholder::Address(form, Owner::NodeOf(pod), family)),
            "service-ip" => {
                let service = crate::topology::find_service(topology, name)?;
                Ok(Placeholder::Address(Form::Plain, Owner::Service(service), family))
            }
            "namespace" if family.is_none() => {
                crate::topology::find_namespace(topology, name).map(Placeholder::Namespace)
            }
            _ => Err(unknown()),
        }
    }

    /// The pod whose address it is.
    pub(crate) fn pod(&self) -> Option<&PodRef> {
        match self {
            Placeholder::Address(_, Owner::Pod(pod) | Owner::NodeOf(pod), _) => Some(pod),
            _ => None,
        }
    }

    fn resolve(&self, bindings: &Bindings) -> Result<String, String> {
        let (form, owner, family) = match self {
            Placeholder::Address(form, owner, family) => (form, owner, family),
            Placeholder::Everything(family) => {
                let primary = bindings.pods.values().find_map(|bound| bound.ips.first());
                let v6 = family.map_or(primary.is_some_and(IpAddr::is_ipv6), |family| family == Family::Ipv6);
                return Ok(if v6 { "::/0" } else { "0.0.0.0/0" }.to_owned());
            }
            Placeholder::Namespace(name) => {
                let real = bindings.namespaces.get(name).cloned();
                return real.ok_or_else(|| format!("namespace {name} has no real name yet"));
            }
        };
        let bound = |pod: &PodRef| bindings.pods.get(pod).ok_or_else(|| format!("pod {pod} has no address yet"));
        let (whose, ips) = match owner {
            Owner::Pod(pod) => (format!("pod {pod}"), &bound(pod)?.ips),
            Owner::NodeOf(pod) => {
                // By default of the family that the pod itself has first.
                let bound = bound(pod)?;
                (format!("the node of pod {pod}"), &bound.node_ips)
            }
            Owner::Service(service) => {
                let found = bindings.services.get(service);
                (
                    format!("service {service}"),
                    &found.ok_or_else(|| format!("service {service} has no address yet"))?.ips,
                )
            }
        };
        let fits = |ip: &&IpAddr| family.is_none_or(|family| family.holds(**ip));
        let address = ips.iter().find(fits).copied().ok_or_else(|| match family {
            Some(family) => format!("{whose} has no {family} address"),
            None => format!("{whose} has no address"),
        })?;
        Ok(match form {
            Form::Plain => address.to_string(),
            Form::Host if address.is_ipv6() => format!("[{address}]"),
            Form::Host => address.to_string(),
            Form::Network(length) => {
                let widest = if address.is_ipv6() { 128i16 } else { 32 };
                let length = if *length > 0 { *length } else { widest + length };
                let length = u8::try_from(length).map_err(|_| format!("{address} has no network /{length}"))?;
                let network = ipnet::IpNet::new(address, length);
                network.map_err(|_| format!("{address} has no network /{length}"))?.trunc().to_string()
            }
        })
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
