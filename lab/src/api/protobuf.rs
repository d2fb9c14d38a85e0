//! Just enough protobuf for what kubectl's typed commands send (`kubectl create namespace`, `configmap`,
//! `serviceaccount`): the envelope `k8s\0`, the metadata, and maps of strings. Other kinds are refused by name.

use serde_json::{Map, Value, json};

use super::status::Status;

/// Reads a body of media type `application/vnd.kubernetes.protobuf`.
///
/// # Errors
/// 400 if it is not protobuf, 415 if it holds a kind that is only read as JSON.
pub(crate) fn read(body: &[u8]) -> Result<Value, Status> {
    let malformed = || Status::bad_request("the body is not a Kubernetes object in protobuf");
    let envelope = fields(body.strip_prefix(b"k8s\0").ok_or_else(malformed)?).ok_or_else(malformed)?;
    // runtime.Unknown: 1 TypeMeta (1 apiVersion, 2 kind), 2 the object.
    let names = fields(bytes(&envelope, 1)).ok_or_else(malformed)?;
    let object = fields(bytes(&envelope, 2)).ok_or_else(malformed)?;
    let (api_version, kind) = (text(&names, 1), text(&names, 2));
    let mut value = json!({ "apiVersion": api_version, "kind": kind });
    match (api_version.as_str(), kind.as_str()) {
        ("v1", "Namespace" | "ServiceAccount") => {}
        ("v1", "ConfigMap") => value["data"] = map(&object, 2).ok_or_else(malformed)?,
        // 1 metadata, 2 deleteOptions.
        ("policy/v1", "Eviction") => {
            let options = fields(bytes(&object, 2)).ok_or_else(malformed)?;
            value["deleteOptions"] = delete_options(json!({}), &options).ok_or_else(malformed)?;
        }
        // DeleteOptions has no metadata: 1 gracePeriodSeconds, 2 preconditions (1 uid).
        (_, "DeleteOptions") => return delete_options(value, &object).ok_or_else(malformed),
        _ => {
            let message = format!("{kind} is read as JSON only, not as protobuf");
            return Err(Status::unsupported_media_type(message));
        }
    }
    value["metadata"] = metadata(bytes(&object, 1)).ok_or_else(malformed)?;
    Ok(value)
}

fn delete_options(mut value: Value, object: &[Field<'_>]) -> Option<Value> {
    if let Some((_, Wire::Number(seconds))) = object.iter().find(|(number, _)| *number == 1) {
        value["gracePeriodSeconds"] = json!(*seconds);
    }
    let uid = text(&fields(bytes(object, 2))?, 1);
    if !uid.is_empty() {
        value["preconditions"] = json!({ "uid": uid });
    }
    Some(value)
}

/// ObjectMeta: 1 name, 2 generateName, 3 namespace, 11 labels, 12 annotations.
fn metadata(message: &[u8]) -> Option<Value> {
    let message = fields(message)?;
    Some(json!({
        "name": text(&message, 1), "generateName": text(&message, 2), "namespace": text(&message, 3),
        "labels": map(&message, 11)?, "annotations": map(&message, 12)?,
    }))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

type Field<'a> = (u64, Wire<'a>);

fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut message)?),
            1 => Wire::Bytes(take(&mut message, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Wire::Bytes(take(&mut message, length)?)
            }
            5 => Wire::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        found.push((tag >> 3, wire));
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(head)
}

fn bytes<'a>(message: &[Field<'a>], number: u64) -> &'a [u8] {
    let found = message.iter().find_map(|(n, wire)| match wire {
        Wire::Bytes(bytes) if *n == number => Some(*bytes),
        _ => None,
    });
    found.unwrap_or_default()
}

fn text(message: &[Field<'_>], number: u64) -> String {
    String::from_utf8_lossy(bytes(message, number)).into_owned()
}

/// A `map<string, string>`: entries with 1 key, 2 value.
fn map(message: &[Field<'_>], number: u64) -> Option<Value> {
    let mut map = Map::new();
    for (n, wire) in message {
        if let (true, Wire::Bytes(entry)) = (*n == number, wire) {
            let entry = fields(entry)?;
            map.insert(text(&entry, 1), text(&entry, 2).into());
        }
    }
    Some(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_a_label() {
        let mut object = b"\x0a\x0f\x0a\x04blue\x5a\x07\x0a\x01a\x12\x02bc".to_vec();
        object[1] = u8::try_from(object.len() - 2).unwrap();
        let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12".to_vec();
        body.push(u8::try_from(object.len()).unwrap());
        body.extend_from_slice(&object);
        let read = read(&body).unwrap();
        assert_eq!((&read["kind"], &read["metadata"]["name"]), (&json!("Namespace"), &json!("blue")));
        assert_eq!(read["metadata"]["labels"], json!({ "a": "bc" }));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        assert_eq!(read(b"k8s\0\x0a\x7f").unwrap_err().code, 400);
        assert_eq!(read(b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod").unwrap_err().code, 415);
    }
}
