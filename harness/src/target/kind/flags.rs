//! Flags of kind targets, the same on `netpol run` and `netpol target up`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// What a kind cluster is to be like.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "kind clusters")]
pub struct KindArgs {
    /// The node image [default: kind's own].
    #[arg(long, value_name = "REF", conflicts_with = "kubernetes_version")]
    pub node_image: Option<String>,
    /// The Kubernetes version, such as 1.36.1: the node image is then kindest/node:v1.36.1.
    #[arg(long, value_name = "X.Y.Z", value_parser = kubernetes_version)]
    pub kubernetes_version: Option<String>,
    /// Worker nodes beside the control plane.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub workers: u16,
    /// The addresses of pods and Services, also in the lab [default: ipv4; in the lab dual, where the kernel has IPv6].
    #[arg(long, value_name = "FAMILY", value_enum)]
    pub ip_family: Option<IpFamily>,
    /// The cluster's name [default: netpol-CNI].
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    pub cluster_name: Option<String>,
    /// The CNI's manifest from this file instead of the entry's.
    #[arg(long, value_name = "FILE")]
    pub cni_manifest: Option<PathBuf>,
    /// Where to download from instead: replaces scheme and host of the entry's address, whose path is kept.
    #[arg(long, value_name = "URL-PREFIX", value_parser = mirror)]
    pub mirror: Option<String>,
    /// netpol's own image as an archive, as `netpol image build` writes it [default: it is built from this executable].
    #[arg(long, value_name = "FILE")]
    pub image_archive: Option<PathBuf>,
    /// A further image archive that is loaded into the nodes before the CNI is installed; may be repeated.
    #[arg(long = "load", value_name = "FILE")]
    pub load: Vec<PathBuf>,
    /// Shows what is done as commands to paste.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Which addresses pods and Services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpFamily::Ipv4 => "ipv4",
            IpFamily::Ipv6 => "ipv6",
            IpFamily::Dual => "dual",
        })
    }
}

impl KindArgs {
    /// The node image that was asked for; none: kind's default.
    pub fn image_of_nodes(&self) -> Option<String> {
        let named = self.node_image.clone();
        named.or_else(|| self.kubernetes_version.as_ref().map(|version| format!("kindest/node:v{version}")))
    }

    /// Which addresses pods and Services of a kind cluster have.
    pub fn family(&self) -> IpFamily {
        self.ip_family.unwrap_or(IpFamily::Ipv4)
    }

    /// The same flags as arguments of a child.
    pub fn arguments(&self) -> Vec<OsString> {
        let KindArgs {
            node_image,
            kubernetes_version,
            workers,
            ip_family,
            cluster_name,
            cni_manifest,
            mirror,
            image_archive,
            load,
            verbose,
        } = self;
        let mut all: Vec<OsString> = vec!["--workers".into(), workers.to_string().into()];
        all.extend(ip_family.iter().flat_map(|family| ["--ip-family".into(), family.to_string().into()]));
        let texts = [
            ("--node-image", node_image),
            ("--kubernetes-version", kubernetes_version),
            ("--cluster-name", cluster_name),
            ("--mirror", mirror),
        ];
        for (flag, value) in texts {
            all.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        for (flag, value) in [("--cni-manifest", cni_manifest), ("--image-archive", image_archive)] {
            all.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        all.extend(load.iter().flat_map(|file| ["--load".into(), file.into()]));
        all.extend(verbose.then(|| "--verbose".into()));
        all
    }

    /// Whether no flag says anything: what other targets want.
    pub fn is_unset(&self) -> bool {
        let KindArgs {
            node_image,
            kubernetes_version,
            workers,
            ip_family,
            cluster_name,
            cni_manifest,
            mirror,
            image_archive,
            load,
            verbose: _,
        } = self;
        let texts = [node_image, kubernetes_version, cluster_name, mirror];
        texts.iter().all(|text| text.is_none())
            && [cni_manifest, image_archive].iter().all(|file| file.is_none())
            && (*workers, *ip_family) == (2, None)
            && load.is_empty()
    }
}

fn kubernetes_version(text: &str) -> Result<String, String> {
    let version = text.strip_prefix('v').unwrap_or(text);
    let parts: Vec<_> = version.split('.').collect();
    let numbers = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
    let remedy = "node images exist for whole versions only, such as 1.36.1; https://github.com/kubernetes-sigs/kind/releases lists them";
    if numbers { Ok(version.to_owned()) } else { Err(format!("'{text}' is no version of Kubernetes: {remedy}")) }
}

/// As kind takes it; short, because it begins the nodes' host names.
fn cluster_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid =
        (1..=50).contains(&text.len()) && text.chars().all(allowed) && text.starts_with(ends) && text.ends_with(ends);
    if valid { Ok(text.to_owned()) } else { Err("use 1 to 50 lower case letters, digits, '-' and '.'".to_owned()) }
}

fn mirror(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("use http://… or https://…".to_owned()),
    }
}
