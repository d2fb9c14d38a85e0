//! Makes the catalogue's tests see a new suite without touching Rust, because `#[files]` is expanded when the test is compiled; and
//! tells the lesson's test whether there is a kubectl for it.

#[path = "lab/build/kubectl.rs"]
mod kubectl;

fn main() {
    println!("cargo::rerun-if-changed=suites");
    println!("cargo::rerun-if-changed=fixtures");
    println!("cargo::rerun-if-changed=lab/build/kubectl.rs");
    kubectl::look();
}
