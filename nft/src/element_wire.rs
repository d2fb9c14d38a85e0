//! Elements as the kernel wants them, and back.
//!
//! A set of single-field intervals (rbtree) holds two elements for each: the start, and behind the end the first key that is
//! out again, unless the end is the highest key there is. Concatenations (pipapo) hold both ends in one element, inclusive.

use crate::attribute::{AttributeReader, AttributeWriter};
use crate::element::{Element, ElementValue, Key};
use crate::error::InvalidObject;
use crate::expression::write_verdict;
use crate::set::{MapsTo, Set};
use crate::uapi::{data, element as attribute, udata};
use crate::user_data::{comment, read_comment};
use crate::value::DataType;
use crate::verdict::Verdict;

/// An item of the list of elements, or two for an interval. Without contents, for deletion, it is only the key.
pub(crate) fn write_element(set: &Set, element: &Element, contents: bool) -> Result<Vec<u8>, InvalidObject> {
    let key = encode(&element.key, &set.key)?;
    let end = element.end.as_ref().map(|end| encode(end, &set.key)).transpose()?;
    let mut fields = element.end.iter().flat_map(|end| element.key.0.iter().zip(&end.0));
    if fields.any(|(from, to)| from > to || (from != to && from.data_type().in_host_order()))
        || (end.is_some() && !set.interval)
    {
        return Err(InvalidObject::Interval { text: element.to_string() });
    }
    let comment = comment(udata::COMMENT, element.comment.as_deref())?;
    let concatenated = set.key.len() > 1;
    let last = end.unwrap_or_else(|| key.clone());
    let mut value = AttributeWriter::default();
    match (&set.maps_to, &element.value) {
        _ if !contents => {}
        (MapsTo::Nothing, None) => {}
        (MapsTo::Verdict, Some(ElementValue::Verdict(verdict))) => {
            value.nest(attribute::DATA, |data| write_verdict(data, verdict));
        }
        (MapsTo::Data(types), Some(ElementValue::Data(datum))) => {
            let bytes = encode(datum, types)?;
            value.nest(attribute::DATA, |data| data.bytes(data::VALUE, &bytes));
        }
        _ => return Err(InvalidObject::Value { text: element.to_string() }),
    }

    let mut writer = AttributeWriter::default();
    writer.nest(data::LIST_ELEM, |item| {
        item.nest(attribute::KEY, |data| data.bytes(data::VALUE, &key));
        if set.interval && concatenated {
            item.nest(attribute::KEY_END, |data| data.bytes(data::VALUE, &last));
        }
        item.bytes.extend_from_slice(&value.bytes);
        if let Some(comment) = comment.filter(|_| contents) {
            item.bytes(attribute::USERDATA, &comment);
        }
    });
    if set.interval
        && !concatenated
        && let Some(behind) = successor(last)
    {
        writer.nest(data::LIST_ELEM, |item| {
            item.nest(attribute::KEY, |data| data.bytes(data::VALUE, &behind));
            item.u32(attribute::FLAGS, attribute::F_INTERVAL_END);
        });
    }
    Ok(writer.bytes)
}

/// A key as the kernel compares it: fields in order, padded if there are several.
fn encode(key: &Key, types: &[DataType]) -> Result<Vec<u8>, InvalidObject> {
    if !key.0.iter().map(|value| value.data_type()).eq(types.iter().copied()) {
        return Err(InvalidObject::Type { text: key.to_string(), expected: types.to_vec() });
    }
    let mut bytes = Vec::new();
    for value in &key.0 {
        bytes.extend(value.encode()?);
        if types.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    Ok(bytes)
}

/// The next key; `None` behind the highest.
fn successor(mut key: Vec<u8>) -> Option<Vec<u8>> {
    step(&mut key, |byte| byte.overflowing_add(1)).then_some(key)
}

/// The key before; `None` before the lowest.
fn predecessor(mut key: Vec<u8>) -> Option<Vec<u8>> {
    step(&mut key, |byte| byte.overflowing_sub(1)).then_some(key)
}

/// Steps a number of many bytes from its last byte on, as long as there is a carry. Tells whether it stayed in range.
fn step(key: &mut [u8], step: impl Fn(u8) -> (u8, bool)) -> bool {
    for byte in key.iter_mut().rev() {
        let (stepped, carry) = step(*byte);
        *byte = stepped;
        if !carry {
            return true;
        }
    }
    false
}

/// An element of a dump.
pub(crate) struct RawElement {
    key: Vec<u8>,
    is_end: bool,
    end: Option<Vec<u8>>,
    value: Option<ElementValue>,
    comment: Option<String>,
}

impl RawElement {
    /// Reads an item of the list of elements; `None` if it has no key.
    pub(crate) fn read(item: AttributeReader<'_>, set: &Set) -> Option<Self> {
        let bytes = |kind| Some(item.get(kind)?.get(data::VALUE)?.0.to_vec());
        let datum = item.get(attribute::DATA);
        let value = match &set.maps_to {
            MapsTo::Nothing => None,
            MapsTo::Verdict => datum.and_then(|datum| datum.get(data::VERDICT)).and_then(read_verdict),
            MapsTo::Data(types) => {
                datum.and_then(|datum| decode(datum.get(data::VALUE)?.0, types)).map(ElementValue::Data)
            }
        };
        Some(Self {
            key: bytes(attribute::KEY)?,
            is_end: item.u32(attribute::FLAGS).is_some_and(|flags| flags & attribute::F_INTERVAL_END != 0),
            end: bytes(attribute::KEY_END),
            value,
            comment: item.get(attribute::USERDATA).and_then(|data| read_comment(data.0, udata::COMMENT)),
        })
    }
}

/// Puts the elements of a dump together, in the order of their keys.
pub(crate) fn assemble(mut raw: Vec<RawElement>, set: &Set) -> Vec<Element> {
    // At the same key an interval ends before the next one starts.
    raw.sort_by(|a, b| (&a.key, !a.is_end).cmp(&(&b.key, !b.is_end)));
    let mut elements = Vec::new();
    let mut raw = raw.into_iter().peekable();
    while let Some(start) = raw.next() {
        if start.is_end {
            continue;
        }
        let end = if set.interval && set.key.len() == 1 {
            match raw.next_if(|next| next.is_end) {
                Some(end) => predecessor(end.key),
                None => Some(vec![u8::MAX; start.key.len()]),
            }
        } else {
            start.end
        };
        let Some(key) = decode(&start.key, &set.key) else { continue };
        let mut element = Element { key, end: None, value: start.value, comment: start.comment };
        if let Some(end) = end.and_then(|end| decode(&end, &set.key)) {
            element = element.to(end);
        }
        elements.push(element);
    }
    elements
}

fn decode(mut bytes: &[u8], types: &[DataType]) -> Option<Key> {
    let mut values = Vec::new();
    for data_type in types {
        values.push(data_type.decode(bytes)?);
        bytes = bytes.get(data_type.padded_size()..).unwrap_or_default();
    }
    Some(Key(values))
}

pub(crate) fn read_verdict(verdict: AttributeReader<'_>) -> Option<ElementValue> {
    let chain = || verdict.text(data::VERDICT_CHAIN);
    Some(ElementValue::Verdict(match verdict.u32(data::VERDICT_CODE)? as i32 {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => return None,
    }))
}
