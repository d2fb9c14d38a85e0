//! `tests/corpus`: files that are valid, and files that are not, each beside what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use netpol_harness::suite::{Source, load};
use netpol_harness::topology;
use rstest::rstest;

/// Loads one suite under the area `corpus`.
fn load_one(file: &std::path::Path) -> Result<Vec<String>, String> {
    let name = format!("corpus/{}", file.file_name().unwrap().to_str().unwrap());
    let texts = BTreeMap::from([(name, fs::read_to_string(file).unwrap())]);
    let loaded = load(&Source::Texts(texts)).map_err(|problems| problems.to_string())?;
    Ok(loaded.cases.into_iter().map(|case| case.id).collect())
}

/// `NAME.txt` beside `NAME.yaml` holds what is said; written anew with `UPDATE_CORPUS=1`, to be read before it is committed.
fn compare(file: &std::path::Path, said: &str) {
    let beside = file.with_extension("txt");
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::write(&beside, format!("{said}\n")).unwrap();
    }
    let expected = fs::read_to_string(&beside).unwrap_or_default();
    assert_eq!(said.trim_end(), expected.trim_end(), "{} says something else now", file.display());
}

#[rstest]
fn an_invalid_suite_is_refused_with_all_its_problems(#[files("tests/corpus/invalid/*.yaml")] file: PathBuf) {
    let said = load_one(&file).expect_err("this file is meant to be invalid");
    compare(&file, &said);
}

#[rstest]
fn a_valid_suite_gives_its_cases(#[files("tests/corpus/valid/*.yaml")] file: PathBuf) {
    let cases = load_one(&file).unwrap_or_else(|problems| panic!("{problems}"));
    compare(&file, &cases.join("\n"));
}

#[rstest]
fn an_invalid_topology_is_refused_with_all_its_problems(#[files("tests/corpus/topologies/*.yaml")] file: PathBuf) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let problems =
        topology::parse(name, "corpus", &fs::read_to_string(&file).unwrap()).expect_err("meant to be invalid");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    compare(&file, &said.join("\n"));
}

#[test]
fn problems_of_several_files_come_in_one_answer() {
    let texts =
        ["b/one", "a/two"].map(|name| (format!("{name}.yaml"), "kind: Suite\nlevel: core\nfoo: 1\n".to_owned()));
    let problems = load(&Source::Texts(texts.into())).unwrap_err().to_string();
    assert!(problems.contains("a/two.yaml:3:1 at foo: unknown key 'foo'"), "{problems}");
    assert!(problems.contains("b/one.yaml:3:1 at foo: unknown key 'foo'"), "{problems}");
}

#[test]
fn a_folder_is_read_by_area_and_name() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("suites-of-a-folder");
    // Left from an earlier run, if at all.
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("area/deep")).unwrap();
    let missing = load(&Source::Directory(root.join("missing"))).unwrap_err().to_string();
    assert!(missing.contains("the folder cannot be read"), "{missing}");
    let empty = load(&Source::Directory(root.clone())).unwrap_err().to_string();
    assert!(empty.contains("there is no suite in this folder"), "{empty}");
    let valid = fs::read_to_string("tests/corpus/valid/minimal.yaml").unwrap();
    fs::write(root.join("area/minimal.yaml"), &valid).unwrap();
    fs::write(root.join("README.md"), "no suite").unwrap();
    let loaded = load(&Source::Directory(root.clone())).unwrap();
    assert_eq!(loaded.cases[0].id, "area/minimal");
    fs::write(root.join("area/deep/minimal.yaml"), &valid).unwrap();
    let misplaced = load(&Source::Directory(root.clone())).unwrap_err().to_string();
    assert!(misplaced.contains("area/deep/minimal.yaml: a suite stands in the wrong place"), "{misplaced}");
    fs::remove_dir_all(&root).unwrap();
}
