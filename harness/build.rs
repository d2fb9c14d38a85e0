//! New and removed suites and fixtures are seen: the compiler itself tracks only the files that were there.

fn main() {
    for folder in ["../suites", "../fixtures", "../kind-config.yaml", "tests/corpus"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
