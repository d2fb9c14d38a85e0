//! What is on record of each mutant: a file of its own in `killed/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One mutant's record.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// None if no case fails.
    pub(crate) killer: Option<Killer>,
    /// It was run against the whole catalogue of its time, and not only against the areas that its bug is about.
    pub(crate) whole: bool,
    /// The cases that fail.
    pub(crate) cases: BTreeSet<String>,
}

/// The case that CI runs against a mutant: one of the quickest.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Killer {
    pub(crate) case: String,
    /// Of `netpol run`.
    pub(crate) exit: i32,
    /// What it finds, among other things.
    pub(crate) finding: String,
}

/// All records.
pub(crate) struct Records {
    /// By the mutant's name.
    pub(crate) mutants: BTreeMap<String, Record>,
    /// Mutants that no case was run against yet: a name may leave the list, and none may enter it.
    pub(crate) untried: BTreeSet<String>,
    /// The cases that the mutants were last run against.
    pub(crate) catalogue: BTreeSet<String>,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/mutants"].iter().collect()
}

impl Records {
    pub(crate) fn read() -> Self {
        let files = fs::read_dir(folder().join("killed")).unwrap().map(|entry| entry.unwrap().path());
        let record = |file: PathBuf| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).unwrap();
            let record = serde_yaml::from_str(&text);
            (name, record.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
        };
        let lines = |name: &str| -> BTreeSet<String> {
            fs::read_to_string(folder().join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
        };
        Self { mutants: files.map(record).collect(), untried: lines("untried.txt"), catalogue: lines("catalogue.txt") }
    }

    /// Writes one mutant's record.
    pub(crate) fn write(&self, mutant: &str) {
        let text = serde_yaml::to_string(&self.mutants[mutant]).unwrap();
        fs::write(folder().join(format!("killed/{mutant}.yaml")), text).unwrap();
    }

    /// Forgets mutants that are not there any more.
    pub(crate) fn keep(&mut self, names: &BTreeSet<String>) {
        for gone in self.mutants.keys().filter(|name| !names.contains(*name)) {
            fs::remove_file(folder().join(format!("killed/{gone}.yaml"))).unwrap();
        }
        self.mutants.retain(|name, _| names.contains(name));
    }

    /// Writes which cases there are.
    pub(crate) fn write_catalogue(&self) {
        let lines: String = self.catalogue.iter().map(|case| format!("{case}\n")).collect();
        fs::write(folder().join("catalogue.txt"), lines).unwrap();
    }
}
