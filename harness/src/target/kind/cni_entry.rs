//! A CNI's entry: what to install on a kind cluster, how to know that it is ready, and what is known of it. The format is public
//! (docs/kind.md); `fixtures/cni/*.yaml` are embedded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::{Cni, IpFamily};
use crate::decode::Report;
use crate::execute::Profile;
use crate::{Problem, Problems};

static ENTRIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../fixtures/cni");
static FIXTURES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../fixtures");
const API_VERSION: &str = "netpol.dev/v1alpha1";

/// What `fixtures/cni/*.yaml` hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniEntry {
    /// `netpol.dev/v1alpha1`.
    pub api_version: String,
    /// `CniEntry`.
    pub kind: String,
    /// Its name, which is also part of the cluster's.
    pub metadata: Metadata,
    /// One sentence.
    pub description: String,
    /// What to install.
    pub install: Install,
    /// Pods that must be Ready before the network is.
    pub ready: Vec<Selected>,
    /// What the kind cluster needs.
    pub cluster: ClusterOptions,
    /// The families that it can do.
    pub ip_families: BTreeSet<IpFamily>,
    /// Which levels are asserted unless `--profile` says otherwise.
    pub profile: Profile,
    /// Features of suites that it does not claim: such cases are not run, and that is said.
    pub lacks: BTreeSet<String>,
    /// Cases that are known to fail, with the reason. One that passes after all fails the run.
    pub deviations: Vec<Deviation>,
}

/// An entry's name.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// Lower case letters, digits and `-`.
    pub name: String,
}

/// What to install: nothing (kind brings it), embedded manifests, or one that is downloaded.
#[derive(Debug, Clone, Deserialize)]
pub struct Install {
    /// Manifests in this executable, below `fixtures/`.
    #[serde(default)]
    pub embedded: Vec<PathBuf>,
    /// A manifest beside the entry's file, for entries of one's own.
    pub file: Option<PathBuf>,
    /// A published manifest.
    pub download: Option<Download>,
    /// Changes to objects of the manifest.
    #[serde(default)]
    pub patches: Vec<Patch>,
}

/// A published manifest, pinned.
#[derive(Debug, Clone, Deserialize)]
pub struct Download {
    /// The version, for people.
    pub version: String,
    /// Where it is; `--mirror` replaces scheme and host.
    pub url: String,
    /// Of the file as it is served, in lower case hexadecimal.
    pub sha256: String,
}

/// A change to one object of a manifest. Values take `${pod-subnet4}` and `${pod-subnet6}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// Which object.
    pub object: ObjectName,
    /// On clusters of these families; none: on all.
    #[serde(default)]
    pub ip_families: BTreeSet<IpFamily>,
    /// By container: variables that are set, or set otherwise.
    #[serde(default)]
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// Text that is replaced.
    #[serde(default)]
    pub replace: Vec<Replace>,
}

/// Addresses an object of a manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct ObjectName {
    /// Its kind.
    pub kind: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Text that is replaced within a string of an object.
#[derive(Debug, Clone, Deserialize)]
pub struct Replace {
    /// A JSON pointer to the string.
    pub at: String,
    /// What must stand there.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

/// Pods by their labels.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selected {
    /// Their namespace.
    pub namespace: String,
    /// A label selector, as kubectl takes it.
    pub selector: String,
    /// Whether there is one on every node, as of a DaemonSet; true unless it says otherwise.
    #[serde(default = "yes")]
    pub every_node: bool,
}

fn yes() -> bool {
    true
}

/// What the kind cluster needs for this CNI.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterOptions {
    /// Whether kind leaves its own CNI out. Two policy engines must never meet.
    #[serde(rename = "disableDefaultCNI")]
    pub disable_default_cni: bool,
    /// The pods' range, by family.
    #[serde(rename = "podSubnet")]
    pub pod_subnet: PodSubnet,
    /// `iptables`, `nftables` or `ipvs`; none: kind's default.
    #[serde(rename = "kubeProxyMode")]
    pub kube_proxy_mode: Option<String>,
}

/// The pods' range, by family.
#[derive(Debug, Clone, Deserialize)]
pub struct PodSubnet {
    /// For `ipv4` and `dual`.
    pub ipv4: Ipv4Net,
    /// For `ipv6` and `dual`.
    pub ipv6: Ipv6Net,
}

/// A case that is known to fail.
#[derive(Debug, Clone, Deserialize)]
pub struct Deviation {
    /// The case's id, `area/name`.
    pub case: String,
    /// Why it fails, for the report.
    pub reason: String,
}

impl CniEntry {
    /// Whether its manifests run our own image.
    pub fn runs_our_image(&self) -> bool {
        !self.install.embedded.is_empty()
    }

    /// The deviation that is declared for a case.
    pub fn deviation(&self, case: &str) -> Option<&Deviation> {
        self.deviations.iter().find(|deviation| deviation.case == case)
    }
}

/// An entry as it was given, with its text for the cluster's shape.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it says.
    pub cni: CniEntry,
    /// Its text.
    pub text: String,
    /// The folder that `install.file` is relative to.
    pub folder: Option<PathBuf>,
}

/// Reads the entry of a target.
///
/// # Errors
/// Everything that is wrong in it, and a file that cannot be read.
pub fn load(cni: &Cni) -> Result<Entry, Problems> {
    let (file, text, folder) = match cni {
        Cni::Embedded(name) => {
            let file = ENTRIES.get_file(format!("{name}.yaml"));
            let text = file.and_then(|file| file.contents_utf8()).unwrap_or_default().to_owned();
            (format!("cni/{name}.yaml"), text, None)
        }
        Cni::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            (path.display().to_string(), text, Some(path.parent().unwrap_or(Path::new(".")).to_owned()))
        }
    };
    let cni = parse(&file, &text).map_err(Problems)?;
    Ok(Entry { cni, text, folder })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problems {
    let names: Vec<_> = names().map(|name| format!("kind:{name}")).collect();
    Problems(vec![Problem {
        file: path.display().to_string(),
        line: None,
        column: None,
        path: None,
        what: format!("the CNI entry cannot be read: {error}"),
        remedy: format!("name a file with a CniEntry (docs/kind.md), or use {}", names.join(", ")),
    }])
}

/// The names of the embedded entries, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> =
        ENTRIES.files().filter_map(|file| file.path().file_stem().and_then(|stem| stem.to_str())).collect();
    names.sort_unstable();
    names.into_iter()
}

/// The text of an embedded manifest, by its path below `fixtures/`.
pub fn embedded_manifest(path: &Path) -> Option<&'static str> {
    FIXTURES.get_file(path)?.contents_utf8()
}

/// Reads an entry strictly.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(file: &str, text: &str) -> Result<CniEntry, Vec<Problem>> {
    let mut report = Report::new(file);
    let entry = match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(value) => report.json(&value).and_then(|value| report.decode::<CniEntry>(&value, "")),
        Err(error) => {
            report.not_yaml(&error);
            None
        }
    };
    if let Some(entry) = &entry {
        check(entry, &mut report);
    }
    match (report.finish(text), entry) {
        (None, Some(entry)) => Ok(entry),
        (problems, _) => Err(problems.unwrap_or_default()),
    }
}

fn check(entry: &CniEntry, report: &mut Report) {
    let mut must = |holds: bool, path: &str, what: &str, remedy: &str| {
        if !holds {
            report.add(path, what.to_owned(), remedy);
        }
    };
    let Install { embedded, file, download, patches } = &entry.install;
    must(
        entry.api_version == API_VERSION,
        "apiVersion",
        "this version of the format is unknown",
        "write netpol.dev/v1alpha1",
    );
    must(entry.kind == "CniEntry", "kind", "this is not a CniEntry", "write kind: CniEntry");
    let name = &entry.metadata.name;
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    must(
        !name.is_empty()
            && name.len() <= 40
            && name.chars().all(lower)
            && !name.starts_with('-')
            && !name.ends_with('-'),
        "metadata.name",
        "the name becomes part of the cluster's",
        "use 1 to 40 lower case letters, digits and '-'",
    );
    let sources = usize::from(!embedded.is_empty()) + usize::from(file.is_some()) + usize::from(download.is_some());
    must(
        sources <= 1,
        "install",
        "there is more than one source of manifests",
        "give one of embedded, file and download",
    );
    must(sources == 1 || patches.is_empty(), "install.patches", "there is no manifest to patch", "remove the patches");
    must(
        (sources == 0) != entry.cluster.disable_default_cni,
        "cluster.disableDefaultCNI",
        "kind's own CNI enforces policies: two policy engines must never meet, and one must be there",
        "set it to true exactly where something is installed",
    );
    for (index, path) in embedded.iter().enumerate() {
        let what = format!("there is no fixture {} in this netpol", path.display());
        must(
            embedded_manifest(path).is_some(),
            &format!("install.embedded[{index}]"),
            &what,
            "name a manifest below fixtures/, or use install.file",
        );
    }
    if let Some(Download { sha256, url, .. }) = download {
        let hex = sha256.len() == 64 && sha256.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        must(hex, "install.download.sha256", "this is no SHA-256", "write what sha256sum prints for the file");
        let web = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        must(web, "install.download.url", "this is no address that can be fetched", "write https://…");
    }
    must(!entry.ready.is_empty(), "ready", "nothing tells when the network is ready", "select the CNI's pods");
    must(!entry.ip_families.is_empty(), "ipFamilies", "it can do no family", "write ipv4, ipv6 or dual");
    for (index, Deviation { reason, .. }) in entry.deviations.iter().enumerate() {
        must(!reason.trim().is_empty(), &format!("deviations[{index}].reason"), "there is no reason", "say why");
    }
}
