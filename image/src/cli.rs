//! The arguments of `netpol image`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use oci_spec::distribution::Reference;

use crate::Platform;

/// The container image that holds netpol.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// The subcommands of `netpol image`.
#[derive(Debug, Clone, Subcommand)]
pub enum ImageCommand {
    /// Write the image as an archive for docker, podman, containerd and kind, from a static netpol
    Build(BuildArgs),
}

/// What to write, and where.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Write the archive to this file; one that exists is replaced
    #[arg(long, short, value_name = "FILE.tar", default_value = "netpol.tar")]
    pub output: PathBuf,

    /// The image's name once it is loaded; without a registry it is docker.io's, without a tag `latest`
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("netpol:", env!("CARGO_PKG_VERSION")), value_parser = image_name)]
    pub name: Reference,

    /// Take this netpol instead of the one that runs
    #[arg(long, value_name = "PATH")]
    pub executable: Option<PathBuf>,

    /// What the image is for: linux/amd64 or linux/arm64
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::native())]
    pub platform: Platform,

    /// Add a label to the image's configuration; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
}

/// A label of the image's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Such as `org.opencontainers.image.source`.
    pub key: String,
    /// May be empty.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err("expected KEY=VALUE".to_owned()),
        }
    }
}

/// Reads a name that an image can be given: a digest follows from what is in it, and cannot be chosen.
fn image_name(text: &str) -> Result<Reference, String> {
    let name: Reference =
        text.parse().map_err(|error| format!("{error}; expected for example netpol:1.0, in lower case"))?;
    match name.digest() {
        Some(digest) => Err(format!("the digest {digest} cannot be chosen; give NAME:TAG")),
        None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_completed_as_docker_completes_it() {
        assert_eq!(image_name("netpol:1.0").unwrap().whole(), "docker.io/library/netpol:1.0");
        assert_eq!(image_name("netpol").unwrap().whole(), "docker.io/library/netpol:latest");
        assert_eq!(image_name("ghcr.io/some/netpol:v1").unwrap().whole(), "ghcr.io/some/netpol:v1");
        assert_eq!(image_name("localhost:5000/netpol:v1").unwrap().whole(), "localhost:5000/netpol:v1");
    }

    #[test]
    fn what_cannot_name_an_image_is_refused_with_the_reason() {
        assert!(image_name("Netpol:1").unwrap_err().contains("lower case"));
        assert!(image_name("netpol:").is_err());
        assert!(image_name("").is_err());
        let digest = format!("netpol@sha256:{}", "0".repeat(64));
        assert!(image_name(&digest).unwrap_err().contains("cannot be chosen"));
    }

    #[test]
    fn a_label_has_a_key_and_may_have_an_empty_value() {
        assert_eq!("a=b=c".parse(), Ok(Label { key: "a".into(), value: "b=c".into() }));
        assert_eq!("a=".parse(), Ok(Label { key: "a".into(), value: String::new() }));
        assert!("=b".parse::<Label>().is_err());
        assert!("a".parse::<Label>().is_err());
    }
}
