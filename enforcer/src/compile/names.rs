//! Names in the table: readable where they fit, and always the same for the same thing.

use sha2::{Digest, Sha256};

use crate::world::{Direction, ObjectKey};

/// The longest name that is written out. The kernel takes 255 bytes, and some listings less.
const LONGEST: usize = 120;

/// The chain of a policy (`kind` is `policy`) for one direction: `policy/<namespace>/<name>/egress`. A name that is too long is
/// cut, and told from others by a hash of all of it.
pub fn chain_name(kind: &str, key: &ObjectKey, direction: Direction) -> String {
    let full = format!("{kind}/{}/{}/{direction}", key.namespace, key.name);
    if full.len() <= LONGEST {
        return full;
    }
    let hash = hash(&full);
    let start: String = full.chars().take(LONGEST - hash.len() - 1).collect();
    format!("{start}-{hash}")
}

/// The chain of all pods that these policies isolate.
pub(super) fn isolation_name(policies: &[ObjectKey], direction: Direction) -> String {
    let text: Vec<String> = policies.iter().map(ToString::to_string).collect();
    format!("isolated/{}/{direction}", hash(&text.join(" ")))
}

/// The name of a set that is shared by all that need the same contents: the kind, and a hash of what they are.
pub(super) fn set_name(kind: &str, contents: &str) -> String {
    format!("{kind}/{}", hash(contents))
}

/// A note for people, cut to what the kernel's users can show.
pub(super) fn comment(text: &str) -> String {
    const LONGEST_COMMENT: usize = 120;
    text.chars().filter(|c| c.is_ascii_graphic() && *c != '"' || *c == ' ').take(LONGEST_COMMENT).collect()
}

/// 96 bits in hexadecimal digits. Whoever may write policies chooses what is hashed, so that it has to be a hash for which
/// nobody finds two texts: their sets would be one.
fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}
