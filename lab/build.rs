//! Tells the API server's tests whether there is a kubectl for them.

#[path = "build/kubectl.rs"]
mod kubectl;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/kubectl.rs");
    kubectl::look();
}
