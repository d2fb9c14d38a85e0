//! From the place within a document (`steps[0].apply[1].spec`) to line and column in its text.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Line and column, from 1, of the key or list item at `path`, or of the innermost thing on the way that is there. A path that
/// begins with an index, as those of topologies do, names the document of the text first.
pub(crate) fn locate(text: &str, path: &str) -> Option<(usize, usize)> {
    let (document, rest) = indexed(path).unwrap_or((0, path));
    let deserializer = serde_yaml::Deserializer::from_str(text).nth(document)?;
    // The walk ends in an error at the place, because the parser says where its errors are.
    let found = Descend(rest.trim_start_matches('.')).deserialize(deserializer).err()?;
    found.location().map(|location| (location.line(), location.column()))
}

/// `[3].rest` → 3 and `.rest`.
fn indexed(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// What of `path` remains behind `key`, if the path begins with it. Keys may hold dots themselves.
fn behind<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with('[')).then_some(rest).or_else(|| rest.strip_prefix('.'))
}

struct Descend<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Descend<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descend<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the way to the place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(rest) = map.next_key_seed(KeyOn(self.0))? {
            match rest {
                Some(rest) => map.next_value_seed(Descend(rest))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Err(A::Error::custom("here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((index, rest)) = indexed(self.0) else { return Err(A::Error::custom("here")) };
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("here"));
            }
        }
        seq.next_element_seed(Descend(rest.trim_start_matches('.')))?;
        Err(A::Error::custom("here"))
    }
}

/// Reads a key: what of the path remains behind it, where it is on the way; an error at the key where the path ends there.
struct KeyOn<'p>(&'p str);

impl<'de, 'p> DeserializeSeed<'de> for KeyOn<'p> {
    type Value = Option<&'p str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for KeyOn<'p> {
    type Value = Option<&'p str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        match behind(self.0, key) {
            Some("") => Err(E::custom("here")),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::locate;

    const TEXT: &str = "a: 1\nsteps:\n  - name: x\n    labels: {app.io/b: c, d: [1, {e: f}]}\n---\nb:\n  c: 2\n";

    #[test]
    fn places_have_lines_and_columns() {
        assert_eq!(locate(TEXT, "a"), Some((1, 1)));
        assert_eq!(locate(TEXT, "steps[0].name"), Some((3, 5)));
        assert_eq!(locate(TEXT, "steps[0].labels.app.io/b"), Some((4, 14)));
        assert_eq!(locate(TEXT, "steps[0].labels.d[1].e"), Some((4, 35)));
        assert_eq!(locate(TEXT, "[1].b.c"), Some((7, 3)));
    }

    #[test]
    fn what_is_missing_has_the_place_of_what_should_hold_it() {
        assert_eq!(locate(TEXT, "steps[0].expect.deny"), Some((3, 5)));
        assert_eq!(locate(TEXT, "steps[7]"), Some((3, 3)));
    }
}
