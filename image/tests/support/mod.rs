//! Executables to make images of, from the C compiler that building netpol needs anyway, and archives read back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use netpol_image::{BuildArgs, Platform};
use tar::{Archive, EntryType};
use tempfile::TempDir;

/// A folder for one test.
pub(crate) fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// An executable that needs nothing, not even a C library.
pub(crate) fn static_executable(folder: &Path) -> PathBuf {
    compile(folder, "static", "void _start(void) { for (;;) {} }", &["-static", "-nostdlib", "-ffreestanding"])
}

/// An executable with a program interpreter.
pub(crate) fn dynamic_executable(folder: &Path) -> PathBuf {
    compile(folder, "dynamic", "int main(void) { return 0; }", &[])
}

fn compile(folder: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (source_file, executable) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&source_file, source).unwrap();
    let compiled = Command::new("cc").args(flags).arg("-o").arg(&executable).arg(&source_file).status().unwrap();
    assert!(compiled.success(), "cc {flags:?}");
    executable
}

/// The arguments of a build from one executable to one file.
pub(crate) fn build_args(executable: &Path, output: &Path) -> BuildArgs {
    BuildArgs {
        output: output.to_owned(),
        name: "netpol:1.2.3".parse().unwrap(),
        executable: Some(executable.to_owned()),
        platform: Platform::native(),
        labels: Vec::new(),
    }
}

/// The platform that this machine is not.
pub(crate) fn other_platform() -> Platform {
    match Platform::native() {
        Platform::LinuxAmd64 => Platform::LinuxArm64,
        Platform::LinuxArm64 => Platform::LinuxAmd64,
    }
}

/// An entry of a tar file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) link: Option<PathBuf>,
    pub(crate) bytes: Vec<u8>,
}

/// A tar file's entries by path; a path that comes twice is a mistake.
pub(crate) fn entries(tar: &[u8]) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    for entry in Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        let read = Entry {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap(),
            link: entry.link_name().unwrap().map(|link| link.into_owned()),
            bytes,
        };
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        assert!(found.insert(path.clone(), read).is_none(), "{path} is there twice");
    }
    found
}

/// The names of what is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
