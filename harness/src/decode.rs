//! Strict decoding that collects everything that is wrong with a file.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Problem;
use crate::plan::place::locate;
use crate::plan::placeholder::join;

/// What is wrong with one file.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(file: &str) -> Self {
        Report { file: file.to_owned(), problems: Vec::new() }
    }

    /// Notes a problem at a place within the document; the empty path is the document itself.
    pub(crate) fn add(&mut self, path: &str, what: String, remedy: &str) {
        let path = (!path.is_empty()).then(|| path.to_owned());
        let remedy = remedy.to_owned();
        self.problems.push(Problem { file: self.file.clone(), line: None, column: None, path, what, remedy });
    }

    /// Takes over problems that others found.
    pub(crate) fn extend(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// Takes over what another report of the same file holds.
    pub(crate) fn absorb(&mut self, other: Report) {
        self.problems.extend(other.problems);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes that the text cannot be parsed at all.
    pub(crate) fn not_yaml(&mut self, error: &serde_yaml::Error) {
        let location = error.location();
        let text = error.to_string();
        // The place is told once, in front.
        let said = text.split(" at line ").next().unwrap_or_default();
        let (what, remedy) = match said.strip_prefix("duplicate entry with key ") {
            // The parser knows where the map begins, not where the second key stands.
            Some(key) => (format!("the key {key} is there twice in the map that begins here"), "remove one of them"),
            None => (format!("this is not YAML that can be read: {said}"), "correct it there or just before"),
        };
        self.problems.push(Problem {
            file: self.file.clone(),
            line: location.as_ref().map(serde_yaml::Location::line),
            column: location.as_ref().map(serde_yaml::Location::column),
            path: None,
            what,
            remedy: remedy.to_owned(),
        });
    }

    /// The document with merge keys applied, as JSON; noted where a key is not a string.
    pub(crate) fn json(&mut self, value: &serde_yaml::Value) -> Option<Value> {
        let mut merged = value.clone();
        let json = merged.apply_merge().map_err(|error| error.to_string());
        match json.and_then(|()| serde_json::to_value(merged).map_err(|error| error.to_string())) {
            Ok(json) => Some(json),
            Err(what) => {
                self.add("", what, "write maps with text as keys");
                None
            }
        }
    }

    /// Decodes a part of the document, noting every unknown key and the first value of a wrong type.
    pub(crate) fn decode<T: DeserializeOwned>(&mut self, value: &Value, path: &str) -> Option<T> {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
        let decoded = serde_ignored::deserialize(deserializer, |ignored| unknown.push(key_path(&ignored)));
        for key in unknown {
            let name = key.rsplit(['.', ']']).next().unwrap_or_default().to_owned();
            self.add(&below(path, &key), format!("unknown key '{name}'"), "remove it, or correct its spelling");
        }
        match decoded {
            Ok(decoded) => Some(decoded),
            Err(error) => {
                let inner = track.path().to_string();
                let inner = if inner == "." { "" } else { inner.as_str() };
                self.add(&below(path, inner), error.to_string(), "write a value of the type that the format asks for");
                None
            }
        }
    }

    /// All problems, with the lines of `text` filled in; none if there is none.
    pub(crate) fn finish(mut self, text: &str) -> Option<Vec<Problem>> {
        for problem in self.problems.iter_mut().filter(|problem| problem.line.is_none()) {
            if let Some((line, column)) = problem.path.as_deref().and_then(|path| locate(text, path)) {
                (problem.line, problem.column) = (Some(line), Some(column));
            }
        }
        (!self.problems.is_empty()).then_some(self.problems)
    }
}

/// `path` and a path below it, which may begin with an index.
fn below(path: &str, inner: &str) -> String {
    match inner {
        "" => path.to_owned(),
        indexed if indexed.starts_with('[') => format!("{path}{indexed}"),
        key => join(path, key),
    }
}

/// As we write paths: `a[0].b`; options and newtypes are no steps on the way.
fn key_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path::{Map, NewtypeStruct, NewtypeVariant, Root, Seq, Some};
    match path {
        Root => String::new(),
        Seq { parent, index } => format!("{}[{index}]", key_path(parent)),
        Map { parent, key } => join(&key_path(parent), key),
        Some { parent } | NewtypeStruct { parent } | NewtypeVariant { parent } => key_path(parent),
    }
}
