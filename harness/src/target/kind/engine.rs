//! Finding `kind` and the container engine under it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use thiserror::Error;

use super::config::Cgroup;
use super::tool::{CommandFailed, Tools, words};

/// The oldest kind that we use: older ones do not start the node images of today.
const KIND_AT_LEAST: (u32, u32) = (0, 27);
/// kind's own variable.
const PROVIDER: &str = "KIND_EXPERIMENTAL_PROVIDER";

/// Why there is no kind, or nothing under it.
#[derive(Debug, Error)]
pub enum EngineError {
    /// `kind` is not in PATH.
    #[error("kind is not installed: there is no 'kind' in PATH")]
    NoKind,
    /// It is older than what we need.
    #[error("kind {found} is too old: at least {}.{} is needed", KIND_AT_LEAST.0, KIND_AT_LEAST.1)]
    KindTooOld {
        /// What `kind version` said.
        found: String,
    },
    /// It said something that is no version.
    #[error("'kind version' said '{said}', in which there is no version")]
    KindUnknown {
        /// What it said.
        said: String,
    },
    /// No engine is installed.
    #[error("no container engine is installed: there is neither 'docker' nor 'podman' in PATH")]
    NoEngine,
    /// One is installed and does not answer.
    #[error("{failed}:\n{said}", failed = .0, said = .0.last_lines(5))]
    Command(#[from] CommandFailed),
}

/// The engine under kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// docker
    Docker,
    /// podman
    Podman,
    /// nerdctl, if kind's variable names it.
    Nerdctl,
}

impl Provider {
    /// The program's name, which is also the value of kind's variable.
    pub fn program(self) -> &'static str {
        match self {
            Provider::Docker => "docker",
            Provider::Podman => "podman",
            Provider::Nerdctl => "nerdctl",
        }
    }

    /// The network that kind puts its nodes into, and makes if it is not there.
    pub fn network(self) -> String {
        let variable = match self {
            Provider::Docker | Provider::Nerdctl => "KIND_EXPERIMENTAL_DOCKER_NETWORK",
            Provider::Podman => "KIND_EXPERIMENTAL_PODMAN_NETWORK",
        };
        std::env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "kind".into())
    }

    /// The part of `info` that tells the version of cgroups.
    fn cgroup_format(self) -> &'static str {
        match self {
            Provider::Docker | Provider::Nerdctl => "{{.CgroupVersion}}",
            Provider::Podman => "{{.Host.CgroupsVersion}}",
        }
    }
}

/// kind and its engine, as found.
#[derive(Debug, Clone)]
pub struct Found {
    /// kind's version, for people.
    pub kind: String,
    /// The engine.
    pub provider: Provider,
    /// What nodes get.
    pub cgroup: Cgroup,
}

/// Looks for kind, and says its version.
///
/// # Errors
/// [`EngineError`]
pub async fn find_kind(tools: &Tools) -> Result<String, EngineError> {
    let said = match tools.run(OsStr::new("kind"), &words(["version"])).await {
        Ok(said) => said,
        Err(failed) if failed.missing => return Err(EngineError::NoKind),
        Err(failed) => return Err(failed.into()),
    };
    let (version, text) =
        kind_version(&said).ok_or_else(|| EngineError::KindUnknown { said: said.trim().to_owned() })?;
    if version < KIND_AT_LEAST { Err(EngineError::KindTooOld { found: text }) } else { Ok(text) }
}

/// `kind v0.27.0 go1.23.6 linux/amd64` → (0, 27) and `0.27.0`.
fn kind_version(said: &str) -> Option<((u32, u32), String)> {
    said.split_whitespace().find_map(|word| {
        let version = word.strip_prefix('v')?;
        let mut parts = version.split(['.', '-', '+']);
        Some(((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?), version.to_owned()))
    })
}

/// Looks for the engine: the one that kind's variable names, or else docker, or else podman, whichever answers first.
///
/// # Errors
/// [`EngineError`]
pub async fn find_provider(tools: &Tools) -> Result<(Provider, Cgroup), EngineError> {
    let named = std::env::var(PROVIDER).unwrap_or_default();
    let candidates: &[Provider] = match named.as_str() {
        "docker" => &[Provider::Docker],
        "podman" => &[Provider::Podman],
        "nerdctl" | "finch" | "nerdctl.lima" => &[Provider::Nerdctl],
        _ => &[Provider::Docker, Provider::Podman],
    };
    let mut refused = None;
    for provider in candidates {
        let arguments = words(["info", "--format", provider.cgroup_format()]);
        match tools.run(OsStr::new(provider.program()), &arguments).await {
            Ok(said) => return Ok((*provider, cgroup(&said, Path::new("/sys/fs/cgroup")))),
            Err(failed) if failed.missing => {}
            Err(failed) => refused = refused.or(Some(failed)),
        }
    }
    Err(refused.map_or(EngineError::NoEngine, EngineError::Command))
}

/// What the engine said of cgroups; and where it said nothing, what this machine has.
fn cgroup(said: &str, mounted: &Path) -> Cgroup {
    match said.trim().trim_start_matches('v') {
        "1" => Cgroup::V1,
        "2" => Cgroup::V2,
        _ if mounted.join("cgroup.controllers").exists() => Cgroup::V2,
        _ => Cgroup::V1,
    }
}

/// Arguments of kind: `env KIND_EXPERIMENTAL_PROVIDER=… kind …` where the engine is not the one that kind takes by itself.
pub fn kind_command(provider: Provider, arguments: Vec<OsString>) -> (OsString, Vec<OsString>) {
    if provider == Provider::Docker || std::env::var_os(PROVIDER).is_some() {
        return ("kind".into(), arguments);
    }
    let mut all = vec![format!("{PROVIDER}={}", provider.program()).into(), "kind".into()];
    all.extend(arguments);
    ("env".into(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kind_are_read_as_it_prints_them() {
        let version = |said| kind_version(said).map(|(version, _)| version);
        assert_eq!(version("kind v0.27.0 go1.26.8 linux/amd64\n"), Some((0, 27)));
        assert_eq!(version("kind v0.32.0-alpha+5b1ac2c2a2a1a6 go1.26.1 linux/arm64"), Some((0, 32)));
        assert_eq!(version("v0.8.1"), Some((0, 8)));
        assert_eq!(version("kind (devel)"), None);
    }

    #[test]
    fn the_engine_knows_better_than_this_machine_which_cgroups_nodes_get() {
        let none = Path::new("/nonexistent");
        assert_eq!(["1\n", "v2\n", ""].map(|said| cgroup(said, none)), [Cgroup::V1, Cgroup::V2, Cgroup::V1]);
    }

    #[test]
    fn podman_is_named_to_kind() {
        let (program, arguments) = kind_command(Provider::Podman, words(["get", "clusters"]));
        if std::env::var_os(PROVIDER).is_none() {
            assert_eq!(
                (program, arguments),
                ("env".into(), words(["KIND_EXPERIMENTAL_PROVIDER=podman", "kind", "get", "clusters"]))
            );
        }
    }
}
