//! Where suites come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use include_dir::{Dir, include_dir};

use crate::Problem;

static SUITES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../suites");

/// Where suites come from. Topologies are always the embedded ones.
#[derive(Debug, Clone)]
pub enum Source {
    /// The suites in this executable.
    Embedded,
    /// A directory with `area/name.yaml` files, instead of the embedded ones.
    Directory(PathBuf),
    /// Texts by their path `area/name.yaml`.
    Texts(BTreeMap<String, String>),
}

impl Source {
    /// Texts by path, and what could not be read.
    pub(super) fn read(&self) -> (BTreeMap<String, String>, Vec<Problem>) {
        match self {
            Source::Embedded => {
                let areas = SUITES.dirs().flat_map(|area| area.files());
                let suites = areas.filter(|file| is_suite(file.path()));
                let texts = suites.map(|file| {
                    (file.path().display().to_string(), file.contents_utf8().unwrap_or_default().to_owned())
                });
                (texts.collect(), Vec::new())
            }
            Source::Directory(root) => read_directory(root),
            Source::Texts(texts) => (texts.clone(), Vec::new()),
        }
    }
}

fn is_suite(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Files `area/name.yaml` below `root`; suites in other places are problems, so that none is overlooked.
fn read_directory(root: &Path) -> (BTreeMap<String, String>, Vec<Problem>) {
    let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
    let mut problem = |file: &Path, what: String, remedy: &str| {
        let (file, remedy) = (file.display().to_string(), remedy.to_owned());
        problems.push(Problem { file, line: None, column: None, path: None, what, remedy });
    };
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = match fs::read_dir(&folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => {
                problem(
                    &folder,
                    format!("the folder cannot be read: {error}"),
                    "name a folder with area/name.yaml files",
                );
                continue;
            }
        };
        for path in entries.into_iter().map(|entry| entry.path()) {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            if !is_suite(&path) {
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if name.components().count() != 2 {
                problem(
                    &name,
                    "a suite stands in the wrong place".to_owned(),
                    "put it into a folder that is its area: area/name.yaml",
                );
                continue;
            }
            match fs::read_to_string(&path) {
                Ok(text) => drop(texts.insert(name.display().to_string(), text)),
                Err(error) => {
                    problem(&name, format!("the file cannot be read: {error}"), "make it readable UTF-8 text")
                }
            }
        }
    }
    if texts.is_empty() && problems.is_empty() {
        let (file, what) = (root.display().to_string(), "there is no suite in this folder".to_owned());
        let remedy = "name a folder with area/name.yaml files".to_owned();
        problems.push(Problem { file, line: None, column: None, path: None, what, remedy });
    }
    (texts, problems)
}
