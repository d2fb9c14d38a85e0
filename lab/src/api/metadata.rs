//! `metadata`: what the server fills in and keeps, and the rules of names, labels and annotations.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::resources::Kind;
use super::status::{Cause, Status};

/// The present, as `metadata` writes it: RFC 3339, whole seconds, UTC.
pub(crate) fn now() -> String {
    at(Timestamp::now())
}

/// A time as `metadata` writes it.
pub(crate) fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A version 4 UUID from the kernel's random numbers.
///
/// # Errors
/// 500 if the kernel gives none.
pub(crate) fn new_uid() -> Result<String, Status> {
    let mut b = random::<16>()?;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Five characters for `generateName`: no vowels, so that no words arise.
pub(crate) fn random_suffix() -> Result<String, Status> {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    Ok(random::<5>()?.iter().map(|b| ALPHABET[usize::from(*b) % ALPHABET.len()] as char).collect())
}

fn random<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(n) if n == N => Ok(bytes),
        Ok(n) => Err(Status::internal(format!("getrandom gave {n} bytes instead of {N}"))),
        Err(error) => Err(Status::internal(format!("getrandom: {error}"))),
    }
}

/// Checks `apiVersion`, `kind` and `metadata.namespace` against the path they came by, and fills in what is missing.
/// Afterwards `metadata` is a map and kind and apiVersion stand first.
pub(crate) fn fit_to_path(kind: &'static Kind, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let Some(map) = object.as_object_mut() else {
        return Err(Status::bad_request(format!("the body must be a {} object", kind.kind)));
    };
    for (key, expected) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        match map.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() || *text == expected => {}
            Some(other) => {
                let message = format!("the {key} in the data ({other}) does not match the expected one ({expected:?})");
                return Err(Status::bad_request(message));
            }
        }
    }
    let mut ordered = Map::new();
    ordered.insert("apiVersion".into(), kind.api_version().into());
    ordered.insert("kind".into(), kind.kind.into());
    ordered.insert("metadata".into(), json!({}));
    ordered.append(map);
    ordered["apiVersion"] = kind.api_version().into();
    ordered["kind"] = kind.kind.into();
    if ordered["metadata"].is_null() {
        ordered["metadata"] = json!({});
    }
    *map = ordered;
    let Some(metadata) = map["metadata"].as_object_mut() else {
        return Err(Status::bad_request("metadata must be an object"));
    };
    match metadata.get("namespace").and_then(Value::as_str).unwrap_or_default() {
        "" => {}
        given if given == namespace => {}
        given => {
            let message = format!(
                "the namespace of the provided object ({given:?}) does not match the namespace sent on the request ({namespace:?})"
            );
            return Err(Status::bad_request(message));
        }
    }
    if kind.namespaced {
        metadata.insert("namespace".into(), namespace.into());
    } else {
        metadata.remove("namespace");
    }
    Ok(())
}

/// What only the server writes.
const OWNED: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];

/// Fills in what the server owns in a new object.
pub(crate) fn stamp_new(object: &mut Value, counts_generations: bool) -> Result<(), Status> {
    let metadata = &mut object["metadata"];
    if let Some(map) = metadata.as_object_mut() {
        for key in OWNED {
            map.shift_remove(key);
        }
    }
    metadata["uid"] = new_uid()?.into();
    metadata["creationTimestamp"] = now().into();
    if counts_generations {
        metadata["generation"] = 1.into();
    }
    Ok(())
}

/// Takes what the server owns from the present version into the one that is to replace it.
///
/// # Errors
/// 409 if the uid or the resourceVersion that the caller sent are not the present ones.
pub(crate) fn keep_owned(kind: &'static Kind, present: &Value, next: &mut Value) -> Result<(), Status> {
    let (old, new) = (&present["metadata"], &mut next["metadata"]);
    let name = old["name"].as_str().unwrap_or_default();
    let differs = |key: &str, new: &Value| new[key].as_str().is_some_and(|x| !x.is_empty() && old[key] != x);
    if differs("name", new) {
        let message = format!("the name of the object ({}) does not match the name on the URL ({name})", new["name"]);
        return Err(Status::bad_request(message));
    }
    if differs("resourceVersion", new) {
        let detail = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Status::conflict(kind, name, detail));
    }
    if differs("uid", new) {
        let detail =
            format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", new["uid"], old["uid"]);
        return Err(Status::conflict(kind, name, &detail));
    }
    if let Some(map) = new.as_object_mut() {
        // Who replaces an object without naming the managers leaves them as they are.
        if let (None, Some(managers)) = (map.get("managedFields"), old.get("managedFields")) {
            map.insert("managedFields".into(), managers.clone());
        }
        for key in OWNED.into_iter().chain(["name", "generateName", "resourceVersion"]) {
            match old.get(key) {
                Some(value) => map.insert(key.into(), value.clone()),
                None => map.shift_remove(key),
            };
        }
    }
    Ok(())
}

/// The rules that names, labels and annotations of every kind obey (V17 among them).
pub(crate) fn validate(kind: &'static Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    // Namespaces are DNS labels because they become one in Service names; the others may have dots.
    let label_only = matches!(kind.kind, "Namespace" | "Service");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if label_only && !is_dns_label(name) {
        causes.push(Cause::invalid("metadata.name", &metadata["name"], DNS_LABEL));
    } else if !is_dns_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &metadata["name"], DNS_SUBDOMAIN));
    }
    for (field, limited) in [("labels", true), ("annotations", false)] {
        let path = format!("metadata.{field}");
        match &metadata[field] {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    if !is_qualified_name(key) {
                        causes.push(Cause::invalid(&path, &json!(key), QUALIFIED_NAME));
                    }
                    match value.as_str() {
                        Some(text) if !limited || is_label_value(text) => {}
                        _ => causes.push(Cause::invalid(&path, value, LABEL_VALUE)),
                    }
                }
            }
            other => causes.push(Cause::invalid(&path, other, "must be a map of strings")),
        }
    }
    causes
}

const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character, with an optional DNS subdomain prefix and '/'";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (at most 63)";

/// RFC 1123 label: at most 63 of lower case letters, digits and inner hyphens.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|c| legal(*c)) && edge(bytes.first()) && edge(bytes.last())
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| part.len() <= 253 && !part.is_empty() && is_subdomain_part(part))
}

fn is_subdomain_part(part: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    part.bytes().all(legal) && !part.starts_with('-') && !part.ends_with('-')
}

/// A label key: `[prefix/]name`.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let name = match text.split_once('/') {
        Some((prefix, name)) if is_dns_subdomain(prefix) => name,
        Some(_) => return false,
        None => text,
    };
    !name.is_empty() && is_label_value(name)
}

/// A label value: empty, or at most 63 characters that begin and end with a letter or digit.
pub(crate) fn is_label_value(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
        && edge(bytes.first())
        && edge(bytes.last())
}
