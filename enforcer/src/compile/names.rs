//! Names in the table: readable where they fit, and always the same for the same thing.

use crate::world::{Direction, ObjectKey};

/// The longest name that is written out. The kernel takes 255 bytes, and some listings less.
const LONGEST: usize = 120;

/// The chain of a pod (`kind` is `pod`) or a policy (`policy`) for one direction: `policy/<namespace>/<name>/egress`. A
/// name that is too long is cut, and told from others by a hash of all of it.
pub fn chain_name(kind: &str, key: &ObjectKey, direction: Direction) -> String {
    let full = format!("{kind}/{}/{}/{direction}", key.namespace, key.name);
    if full.len() <= LONGEST {
        return full;
    }
    let hash = stable_hash(&full);
    let start: String = full.chars().take(LONGEST - 17).collect();
    format!("{start}-{hash:016x}")
}

/// The name of a set that is shared by all that need the same contents: the kind, and a hash of what they are.
pub(super) fn set_name(kind: &str, contents: &str) -> String {
    format!("{kind}/{:016x}", stable_hash(contents))
}

/// A note for people, cut to what the kernel's users can show.
pub(super) fn comment(text: &str) -> String {
    const LONGEST_COMMENT: usize = 120;
    text.chars().filter(|c| c.is_ascii_graphic() && *c != '"' || *c == ' ').take(LONGEST_COMMENT).collect()
}

/// FNV-1a over 64 bits: the same in every build and on every machine, unlike the standard library's hasher.
fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
