//! The archive: an OCI image layout (`oci-layout`, `index.json`, blobs by their digest), and beside its index the
//! `manifest.json` of a docker-archive, which names the same blobs, for Docker engines that know no OCI layouts.
//!
//! Sources: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>, and for the docker-archive
//! <https://github.com/moby/moby/blob/master/image/spec/v1.2.md>.

use std::collections::HashMap;
use std::io;

use oci_spec::OciSpecError;
use oci_spec::distribution::Reference;
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_TITLE, ANNOTATION_VERSION,
    ConfigBuilder, Descriptor, Digest, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder, RootFsBuilder,
    SCHEMA_VERSION,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use crate::layer::{self, header};
use crate::{Label, Platform};

/// By which containerd, and so `kind load`, names what it imports.
const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Numbers, because there is no /etc/passwd; root, because the packet capture's capability is effective for root only.
const USER: &str = "0:0";
/// Fixed, so that equal executables give equal archives.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What an image is made of.
pub(crate) struct Image<'a> {
    pub(crate) layer: Vec<u8>,
    pub(crate) name: &'a Reference,
    pub(crate) platform: Platform,
    pub(crate) labels: &'a [Label],
}

/// An archive, ready to be written.
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    /// Of the image's manifest, as registries know it.
    pub(crate) digest: Digest,
}

/// Content under its digest.
struct Blob {
    descriptor: Descriptor,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: MediaType, bytes: Vec<u8>) -> Result<Self, OciSpecError> {
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest: Digest = format!("sha256:{hex}").parse()?;
        Ok(Self { descriptor: Descriptor::new(media_type, bytes.len() as u64, digest), bytes })
    }

    fn digest(&self) -> &Digest {
        self.descriptor.digest()
    }

    /// Its place in the layout.
    fn path(&self) -> String {
        format!("blobs/{}/{}", self.digest().algorithm(), self.digest().digest())
    }
}

/// The one entry of a docker-archive's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Image<'_> {
    /// Puts the archive together, in memory.
    ///
    /// # Errors
    /// Only our own: a document without a mandatory field.
    pub(crate) fn archive(self) -> Result<Archive, OciSpecError> {
        let name = self.name.whole();
        let layer = Blob::new(MediaType::ImageLayer, self.layer)?;
        let configuration = configuration(layer.digest(), self.platform, self.labels)?;
        let configuration = Blob::new(MediaType::ImageConfig, json(&configuration)?)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(configuration.descriptor.clone())
            .layers([layer.descriptor.clone()])
            .build()?;
        let manifest = Blob::new(MediaType::ImageManifest, json(&manifest)?)?;

        let mut entry = manifest.descriptor.clone();
        entry.set_platform(Some(PlatformBuilder::default().os(Os::Linux).architecture(self.platform.arch()).build()?));
        entry.set_annotations(Some(HashMap::from([
            (ANNOTATION_CONTAINERD_NAME.to_owned(), name.clone()),
            (ANNOTATION_REF_NAME.to_owned(), self.name.tag().unwrap_or("latest").to_owned()),
        ])));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests([entry])
            .build()?;
        let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
        let docker =
            [DockerManifest { config: configuration.path(), repo_tags: vec![name], layers: vec![layer.path()] }];

        let mut files = vec![
            ("oci-layout".to_owned(), json(&layout)?),
            ("index.json".to_owned(), json(&index)?),
            ("manifest.json".to_owned(), json(&docker)?),
        ];
        let digest = manifest.digest().clone();
        files.extend([manifest, configuration, layer].map(|blob| (blob.path(), blob.bytes)));
        Ok(Archive { bytes: pack(&files)?, digest })
    }
}

/// The image's configuration. An uncompressed layer's digest is that of its content as well.
fn configuration(layer: &Digest, platform: Platform, labels: &[Label]) -> Result<ImageConfiguration, OciSpecError> {
    let said = [
        (ANNOTATION_TITLE, "netpol"),
        (ANNOTATION_DESCRIPTION, "Proves whether a cluster's NetworkPolicies are really enforced"),
        (ANNOTATION_VERSION, env!("CARGO_PKG_VERSION")),
        (ANNOTATION_LICENSES, "Apache-2.0"),
    ];
    let mut all: HashMap<_, _> = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    all.extend(labels.iter().map(|Label { key, value }| (key.clone(), value.clone())));
    let config = ConfigBuilder::default()
        .user(USER)
        .env([format!("PATH={}", layer::PATH)])
        .entrypoint([layer::NETPOL.to_owned()])
        .working_dir("/")
        .labels(all)
        .build()?;
    ImageConfigurationBuilder::default()
        .created(CREATED)
        .os(Os::Linux)
        .architecture(platform.arch())
        .config(config)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids([layer.to_string()]).build()?)
        .history([HistoryBuilder::default().created(CREATED).created_by("netpol image build").build()?])
        .build()
}

/// A document with its keys in order: maps would come in another order each time.
fn json(document: &impl Serialize) -> Result<Vec<u8>, OciSpecError> {
    let mut value = serde_json::to_value(document)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

fn pack(files: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let size = files.iter().map(|(_, bytes)| bytes.len() + 1024).sum::<usize>();
    let mut tar = Builder::new(Vec::with_capacity(size + 4 * 1024));
    for folder in ["blobs/", "blobs/sha256/"] {
        tar.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, io::empty())?;
    }
    for (path, bytes) in files {
        tar.append_data(&mut header(EntryType::Regular, 0o644, bytes.len()), path, bytes.as_slice())?;
    }
    tar.into_inner()
}
