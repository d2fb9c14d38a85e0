//! Our own image as an archive: given, or built from this executable.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::tool::{CommandFailed, Tools};

/// The image's name where nothing says otherwise: that of `netpol image build`.
pub const IMAGE: &str = concat!("netpol:", env!("CARGO_PKG_VERSION"));

/// Why there is no image to load.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("the image archive {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is another kind of file.
    #[error("{} is no image archive: it holds neither index.json nor manifest.json with an image's name", path.display())]
    NoImage {
        /// The file.
        path: PathBuf,
    },
    /// `netpol image build` failed; it has said why.
    #[error("netpol's own image cannot be built: {0}")]
    Build(#[from] CommandFailed),
}

/// Writes the image of this executable.
///
/// # Errors
/// [`ArchiveError::Build`]: most often because this executable is not static.
pub async fn build(tools: &Tools, name: &str, output: &Path) -> Result<(), ArchiveError> {
    let own = std::env::current_exe().map_or_else(|_| OsString::from("netpol"), PathBuf::into_os_string);
    let arguments: [OsString; 6] =
        ["image".into(), "build".into(), "--output".into(), output.into(), "--name".into(), name.into()];
    tools.run(&own, &arguments).await?;
    Ok(())
}

/// The name under which nodes know the image of an archive, OCI or docker.
///
/// # Errors
/// [`ArchiveError::Unreadable`] and [`ArchiveError::NoImage`]
pub fn image_name(path: &Path) -> Result<String, ArchiveError> {
    let unreadable = |cause| ArchiveError::Unreadable { path: path.to_owned(), cause };
    let mut archive = tar::Archive::new(File::open(path).map_err(unreadable)?);
    let mut name = None;
    let entries = archive.entries().map_err(unreadable)?;
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let member = entry.path().map_err(unreadable)?.into_owned();
        let read = match member.to_str().map(|member| member.trim_start_matches("./")) {
            Some("index.json") => of_index,
            Some("manifest.json") => of_manifest,
            _ => continue,
        };
        let mut text = String::new();
        entry.read_to_string(&mut text).map_err(unreadable)?;
        name = name.or(serde_json::from_str(&text).ok().and_then(|document: Value| read(&document)));
    }
    name.map(|name: String| short(&name)).ok_or_else(|| ArchiveError::NoImage { path: path.to_owned() })
}

/// containerd names what it imports by this annotation.
fn of_index(index: &Value) -> Option<String> {
    let annotations = index.pointer("/manifests/0/annotations")?;
    Some(annotations.get("io.containerd.image.name")?.as_str()?.to_owned())
}

fn of_manifest(manifest: &Value) -> Option<String> {
    Some(manifest.pointer("/0/RepoTags/0")?.as_str()?.to_owned())
}

/// `docker.io/library/netpol:1` is what `netpol:1` means to a kubelet.
fn short(name: &str) -> String {
    name.strip_prefix("docker.io/library/").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn archive(label: &str, member: &str, document: &Value) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netpol-archive-{}-{label}.tar", std::process::id()));
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let text = document.to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, member, text.as_bytes()).unwrap();
        builder.finish().unwrap();
        path
    }

    #[test]
    fn the_name_is_read_from_archives_of_both_kinds() {
        let annotations = json!({"io.containerd.image.name": "docker.io/library/netpol:0.1.0"});
        let oci = archive("oci", "index.json", &json!({"manifests": [{"annotations": annotations}]}));
        let docker = archive("docker", "./manifest.json", &json!([{"RepoTags": ["ghcr.io/x/netpol:1"]}]));
        let other = archive("other", "index.json", &json!({"manifests": []}));
        assert_eq!(image_name(&oci).unwrap(), "netpol:0.1.0");
        assert_eq!(image_name(&docker).unwrap(), "ghcr.io/x/netpol:1");
        assert!(matches!(image_name(&other), Err(ArchiveError::NoImage { .. })));
        for file in [oci, docker, other] {
            std::fs::remove_file(file).unwrap();
        }
        assert!(matches!(image_name(Path::new("/nonexistent")), Err(ArchiveError::Unreadable { .. })));
    }
}
