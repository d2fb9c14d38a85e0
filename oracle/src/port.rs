//! Ports of rules (N37–N43, N48) and what makes one invalid (V1–V7).

use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::{Pod, Protocol, Traffic};
use crate::invalid::{Cause, Complaints};

/// One entry of a rule's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    /// Whether the protocol was left out, and so is TCP (N37).
    pub(crate) protocol_defaulted: bool,
    pub(crate) numbers: Numbers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Every port of the protocol (N38).
    Any,
    /// From and to, both inclusive (N43).
    Range(u16, u16),
    /// Whatever the receiving pod calls by this name (N40).
    Named(String),
}

impl Port {
    /// Whether it admits `traffic` to the receiver; a receiver that is no pod has no named ports (N42).
    pub(crate) fn matches(&self, traffic: Traffic, receiver: Option<&Pod>) -> bool {
        // A rule with ports covers only their protocols, so no ICMP (N48).
        let Some((protocol, number)) = traffic.port() else { return false };
        protocol == self.protocol
            && match &self.numbers {
                Numbers::Any => true,
                Numbers::Range(first, last) => (*first..=*last).contains(&number),
                // Each receiving pod resolves the name by itself (N41), with the protocol (N39).
                Numbers::Named(name) => receiver
                    .into_iter()
                    .flat_map(|pod| &pod.ports)
                    .any(|port| port.name.as_ref() == Some(name) && port.protocol == protocol && port.number == number),
            }
    }

    /// Reads an entry at `field`, adding to `complaints` what is wrong with it; none where it has no meaning.
    pub(crate) fn compile(port: &NetworkPolicyPort, field: &str, complaints: &mut Complaints) -> Option<Self> {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                let what = format!("'{other}' is not a protocol: TCP, UDP, SCTP are");
                complaints.add(1, Cause::FieldValueNotSupported, &format!("{field}.protocol"), what);
                None
            }
        };
        let numbers = compile_numbers(port, field, complaints);
        let protocol_defaulted = port.protocol.is_none();
        Some(Port { protocol: protocol?, protocol_defaulted, numbers: numbers? })
    }
}

fn compile_numbers(port: &NetworkPolicyPort, field: &str, complaints: &mut Complaints) -> Option<Numbers> {
    let found_before = complaints.found.len();
    let mut invalid = |number: u8, key: &str, what: String| {
        complaints.add(number, Cause::FieldValueInvalid, &format!("{field}.{key}"), what);
    };
    let numbers = match (&port.port, port.end_port) {
        (None, None) => Some(Numbers::Any),
        (None, Some(_)) => {
            invalid(4, "endPort", "endPort needs a port".to_owned());
            None
        }
        (Some(IntOrString::String(name)), end) => {
            if !is_port_name(name) {
                let what = format!("'{name}' is not a port's name: at most 15 lower-case letters, digits, hyphens");
                invalid(3, "port", what);
            }
            if end.is_some() {
                invalid(5, "endPort", "endPort does not go with a named port".to_owned());
            }
            Some(Numbers::Named(name.clone()))
        }
        (Some(IntOrString::Int(first)), end) => {
            let last = end.unwrap_or(*first);
            let (start, stop) = (port_number(*first), port_number(last));
            if start.is_none() {
                invalid(2, "port", format!("{first} is not a port: 1 to 65535 are"));
            }
            if end.is_some() && stop.is_none() {
                invalid(7, "endPort", format!("{last} is not a port: 1 to 65535 are"));
            } else if last < *first {
                invalid(6, "endPort", format!("endPort {last} is less than port {first}"));
            }
            start.zip(stop).map(|(start, stop)| Numbers::Range(start, stop))
        }
    };
    numbers.filter(|_| complaints.found.len() == found_before)
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// At most 15 lower-case letters, digits and single inner hyphens, with a letter among them (V3).
fn is_port_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=15).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && bytes.iter().any(u8::is_ascii_lowercase)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
