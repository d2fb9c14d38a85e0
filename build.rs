//! Makes the catalogue's tests see a new suite without touching Rust: `#[files]` is expanded when the test is compiled.

fn main() {
    println!("cargo::rerun-if-changed=suites");
    println!("cargo::rerun-if-changed=fixtures");
}
