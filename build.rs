//! Makes the catalogue's tests see a new suite without touching Rust, because `#[files]` is expanded when the test is compiled; and
//! tells the lesson's test whether there is a kubectl for it. Also packs the static executable.

#[path = "lab/build/kubectl.rs"]
mod kubectl;

fn main() {
    println!("cargo::rerun-if-changed=suites");
    println!("cargo::rerun-if-changed=fixtures");
    println!("cargo::rerun-if-changed=lab/build/kubectl.rs");
    kubectl::look();
    // Two megabytes of relocations in forty kilobytes; musl's start-up code unpacks them, an older glibc's would not.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
