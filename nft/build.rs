//! Tells the tests by `cfg(nft_installed)` whether the `nft` program is here: they compare what the kernel holds with it.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(nft_installed)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let found = places.iter().map(|place| place.join("nft")).find(|program| program.is_file());
    match &found {
        Some(program) => {
            println!("cargo:rustc-cfg=nft_installed");
            println!("cargo:rerun-if-changed={}", program.display());
        }
        // A package manager that installs it changes one of these.
        None => ["/usr/sbin", "/sbin"].iter().for_each(|place| println!("cargo:rerun-if-changed={place}")),
    }
    println!("cargo:rustc-env=NFT={}", found.unwrap_or_else(|| "nft".into()).display());
}
