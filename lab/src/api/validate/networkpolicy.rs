//! Rules of NetworkPolicy, by the ids of the table V1–V17.

use ipnet::IpNet;
use serde_json::Value;

use crate::api::metadata::{is_label_value, is_qualified_name};
use crate::api::status::Cause;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const TYPES: [&str; 2] = ["Ingress", "Egress"];
const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

pub(super) fn check(policy: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &policy["spec"];
    if !spec.is_object() {
        return vec![Cause::required("spec", "a NetworkPolicy needs a spec")];
    }
    selector("spec.podSelector", &spec["podSelector"], &mut causes);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in list(&spec[direction]) {
            let path = format!("spec.{direction}[{i}]");
            for (j, port) in list(&rule["ports"]) {
                self::port(&format!("{path}.ports[{j}]"), port, &mut causes);
            }
            for (j, peer) in list(&rule[peers]) {
                self::peer(&format!("{path}.{peers}[{j}]"), peer, &mut causes);
            }
        }
    }
    if spec["policyTypes"].as_array().is_some_and(|types| types.len() > 2) {
        let detail = "may not specify more than two policyTypes"; // V15
        causes.push(Cause::invalid("spec.policyTypes", &spec["policyTypes"], detail));
        return causes;
    }
    for (i, kind) in list(&spec["policyTypes"]) {
        if !kind.as_str().is_some_and(|k| TYPES.contains(&k)) {
            causes.push(Cause::not_supported(format!("spec.policyTypes[{i}]"), kind, &TYPES)); // V14
        }
    }
    causes
}

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn port(path: &str, port: &Value, causes: &mut Vec<Cause>) {
    if !port["protocol"].as_str().is_some_and(|p| PROTOCOLS.contains(&p)) {
        causes.push(Cause::not_supported(format!("{path}.protocol"), &port["protocol"], &PROTOCOLS)); // V1
    }
    let (first, last) = (&port["port"], &port["endPort"]);
    match first {
        Value::Null => {
            if !last.is_null() {
                let detail = "may not be specified when `port` is not specified"; // V4
                causes.push(Cause::invalid(format!("{path}.endPort"), last, detail));
            }
        }
        Value::String(name) => {
            if let Err(detail) = port_name(name) {
                causes.push(Cause::invalid(format!("{path}.port"), first, detail)); // V3
            }
            if !last.is_null() {
                let detail = "may not be specified when `port` is non-numeric"; // V5
                causes.push(Cause::invalid(format!("{path}.endPort"), last, detail));
            }
        }
        number => {
            let (first_port, last_port) = (port_number(number), port_number(last));
            if first_port.is_none() {
                causes.push(Cause::invalid(format!("{path}.port"), number, PORT_RANGE)); // V2
            }
            if !last.is_null() {
                if last_port.is_none() {
                    causes.push(Cause::invalid(format!("{path}.endPort"), last, PORT_RANGE)); // V7
                }
                if let (Some(low), Some(high)) = (number.as_i64(), last.as_i64())
                    && high < low
                {
                    let detail = "must be greater than or equal to `port`"; // V6
                    causes.push(Cause::invalid(format!("{path}.endPort"), last, detail));
                }
            }
        }
    }
}

const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
}

fn port_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 15 {
        return Err("must be no more than 15 characters, and not empty");
    }
    if !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        return Err("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|c| c.is_ascii_lowercase()) {
        return Err("must contain at least one letter (a-z)");
    }
    if name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return Err("must not contain consecutive hyphens, nor begin or end with one");
    }
    Ok(())
}

fn peer(path: &str, peer: &Value, causes: &mut Vec<Cause>) {
    let (pods, namespaces, block) = (&peer["podSelector"], &peer["namespaceSelector"], &peer["ipBlock"]);
    if pods.is_null() && namespaces.is_null() && block.is_null() {
        causes.push(Cause::required(path, "must specify a peer")); // V8
    }
    for (name, value) in [("podSelector", pods), ("namespaceSelector", namespaces)] {
        selector(&format!("{path}.{name}"), value, causes);
    }
    if block.is_null() {
        return;
    }
    if !pods.is_null() || !namespaces.is_null() {
        causes.push(Cause::forbidden(path, "may not specify both ipBlock and another peer")); // V9
    }
    ip_block(&format!("{path}.ipBlock"), block, causes);
}

fn ip_block(path: &str, block: &Value, causes: &mut Vec<Cause>) {
    let text = block["cidr"].as_str().unwrap_or_default();
    if text.is_empty() {
        causes.push(Cause::required(format!("{path}.cidr"), "")); // V10
        return;
    }
    let cidr = parse_cidr(text);
    if let Err(detail) = cidr {
        causes.push(Cause::invalid(format!("{path}.cidr"), &block["cidr"], detail)); // V11
    }
    for (i, except) in list(&block["except"]) {
        let path = format!("{path}.except[{i}]");
        match (parse_cidr(except.as_str().unwrap_or_default()), &cidr) {
            (Err(detail), _) => causes.push(Cause::invalid(path, except, detail)), // V12
            (Ok(inner), Ok(outer)) if !(outer.contains(&inner) && inner.prefix_len() > outer.prefix_len()) => {
                causes.push(Cause::invalid(path, except, "must be a strict subset of `cidr`")); // V13
            }
            _ => {}
        }
    }
}

/// A CIDR as servers from 1.36 read it: canonical, no host bits, no IPv4-mapped IPv6.
fn parse_cidr(text: &str) -> Result<IpNet, &'static str> {
    let block: IpNet = text.parse().map_err(|_| "must be a valid CIDR address, such as 10.0.0.0/8 or 2001:db8::/32")?;
    if block.trunc() != block {
        return Err("must not have bits set beyond the prefix length");
    }
    match block {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => Err("must not be an IPv4-mapped IPv6 address"),
        _ => Ok(block),
    }
}

/// V16. Absent selectors are fine here; whether one is required is the caller's business.
fn selector(path: &str, selector: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let path = format!("{path}.matchLabels");
        if !is_qualified_name(key) {
            causes.push(Cause::invalid(&path, &Value::from(key.as_str()), "is not a label key"));
        }
        if !value.as_str().is_some_and(is_label_value) {
            causes.push(Cause::invalid(&path, value, "is not a label value"));
        }
    }
    for (i, expression) in list(&selector["matchExpressions"]) {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = expression["values"].as_array().map_or(0, Vec::len);
        match expression["operator"].as_str() {
            Some("In" | "NotIn") if values == 0 => {
                causes.push(Cause::required(format!("{path}.values"), "needed with operator In or NotIn"));
            }
            Some("Exists" | "DoesNotExist") if values > 0 => {
                causes.push(Cause::forbidden(format!("{path}.values"), "not with operator Exists or DoesNotExist"));
            }
            Some(known) if OPERATORS.contains(&known) => {}
            _ => {
                let operator = &expression["operator"];
                causes.push(Cause::invalid(format!("{path}.operator"), operator, "is not a selector operator"));
            }
        }
        if !expression["key"].as_str().is_some_and(is_qualified_name) {
            causes.push(Cause::invalid(format!("{path}.key"), &expression["key"], "is not a label key"));
        }
        for (j, value) in list(&expression["values"]) {
            if !value.as_str().is_some_and(is_label_value) {
                causes.push(Cause::invalid(format!("{path}.values[{j}]"), value, "is not a label value"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn causes_of(spec: Value) -> Vec<(&'static str, String)> {
        check(&json!({ "spec": spec })).into_iter().map(|c| (c.reason, c.field)).collect()
    }

    fn ports(port: Value) -> Value {
        json!({ "podSelector": {}, "ingress": [{ "ports": [port] }] })
    }

    fn peers(peer: Value) -> Value {
        json!({ "podSelector": {}, "ingress": [{ "from": [peer] }] })
    }

    #[test]
    fn each_rule_names_its_field() {
        let cases = [
            ("V1", ports(json!({ "protocol": "tcp" })), "FieldValueNotSupported", "ports[0].protocol"),
            ("V2", ports(json!({ "protocol": "TCP", "port": 0 })), "FieldValueInvalid", "ports[0].port"),
            ("V2", ports(json!({ "protocol": "TCP", "port": 65536 })), "FieldValueInvalid", "ports[0].port"),
            ("V3", ports(json!({ "protocol": "TCP", "port": "a--b" })), "FieldValueInvalid", "ports[0].port"),
            ("V4", ports(json!({ "protocol": "TCP", "endPort": 9 })), "FieldValueInvalid", "ports[0].endPort"),
            (
                "V5",
                ports(json!({ "protocol": "TCP", "port": "a", "endPort": 9 })),
                "FieldValueInvalid",
                "ports[0].endPort",
            ),
            (
                "V6",
                ports(json!({ "protocol": "TCP", "port": 10, "endPort": 9 })),
                "FieldValueInvalid",
                "ports[0].endPort",
            ),
            (
                "V7",
                ports(json!({ "protocol": "TCP", "port": 1, "endPort": 70000 })),
                "FieldValueInvalid",
                "ports[0].endPort",
            ),
            ("V8", peers(json!({})), "FieldValueRequired", "from[0]"),
            (
                "V9",
                peers(json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} })),
                "FieldValueForbidden",
                "from[0]",
            ),
            ("V10", peers(json!({ "ipBlock": { "cidr": "" } })), "FieldValueRequired", "ipBlock.cidr"),
            ("V11", peers(json!({ "ipBlock": { "cidr": "10.0.0.0/33" } })), "FieldValueInvalid", "ipBlock.cidr"),
            ("V11", peers(json!({ "ipBlock": { "cidr": "10.0.0.1/8" } })), "FieldValueInvalid", "ipBlock.cidr"),
            (
                "V12",
                peers(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["x"] } })),
                "FieldValueInvalid",
                "except[0]",
            ),
            (
                "V13",
                peers(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"] } })),
                "FieldValueInvalid",
                "except[0]",
            ),
            (
                "V13",
                peers(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"] } })),
                "FieldValueInvalid",
                "except[0]",
            ),
            (
                "V14",
                json!({ "podSelector": {}, "policyTypes": ["ingress"] }),
                "FieldValueNotSupported",
                "policyTypes[0]",
            ),
            (
                "V15",
                json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress", "Egress"] }),
                "FieldValueInvalid",
                "policyTypes",
            ),
            ("V16", json!({ "podSelector": { "matchLabels": { "a b": "c" } } }), "FieldValueInvalid", "matchLabels"),
        ];
        for (rule, spec, reason, field) in cases {
            let causes = causes_of(spec);
            assert!(causes.iter().any(|(r, f)| *r == reason && f.ends_with(field)), "{rule}: {causes:?}");
        }
    }

    #[test]
    fn legal_oddities_are_accepted() {
        for spec in [
            peers(json!({ "podSelector": {} })),
            peers(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"] } })),
            peers(json!({ "ipBlock": { "cidr": "2001:db8::/32" } })),
            ports(json!({ "protocol": "SCTP" })),
            ports(json!({ "protocol": "TCP", "port": 80, "endPort": 80 })),
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Ingress"] }),
        ] {
            assert_eq!(causes_of(spec), []);
        }
    }
}
