//! The notes that nft keeps in the kernel with its objects: comments, and how numbers are to be shown.

use crate::error::InvalidObject;
use crate::uapi::udata;

/// The longest comment, as nft has it.
const COMMENT_MAX: usize = 128;

/// A comment as nft stores it.
pub(crate) fn comment(kind: u8, comment: Option<&str>) -> Result<Option<Vec<u8>>, InvalidObject> {
    let Some(comment) = comment else { return Ok(None) };
    if comment.len() > COMMENT_MAX || comment.contains(['\0', '"']) {
        return Err(InvalidObject::Comment { comment: comment.to_owned() });
    }
    let mut bytes = vec![kind, comment.len() as u8 + 1];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    Ok(Some(bytes))
}

/// The note for nft that numbers are in the host's byte order.
pub(crate) fn host_order(kind: u8) -> impl Iterator<Item = u8> {
    [kind, 4].into_iter().chain(udata::HOST_ORDER.to_ne_bytes())
}

/// The comment in user data, which is a list of type, length and value.
pub(crate) fn read_comment(mut bytes: &[u8], wanted: u8) -> Option<String> {
    while let [kind, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *kind == wanted {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        bytes = &rest[usize::from(*length)..];
    }
    None
}
