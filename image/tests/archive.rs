//! The archive read back as engines read it: every reference resolves, every digest and size is right.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "each test binary uses its part of the support")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use netpol_image::{BuildArgs, Label, Platform, build};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout, Os};
use sha2::{Digest as _, Sha256};
use support::{Entry, build_args, entries, folder, other_platform, static_executable};
use tar::EntryType;

/// The blob that a descriptor names, its digest and size verified.
fn blob<'a>(archive: &'a BTreeMap<String, Entry>, descriptor: &Descriptor) -> &'a [u8] {
    let hex = descriptor.as_digest_sha256().expect("digests are SHA-256");
    let bytes = &archive[&format!("blobs/sha256/{hex}")].bytes;
    assert_eq!(sha256(bytes), hex);
    assert_eq!(bytes.len() as u64, descriptor.size());
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Builds, and reads what was written.
fn built(change: impl FnOnce(&mut BuildArgs)) -> (netpol_image::Built, BTreeMap<String, Entry>, Vec<u8>) {
    let folder = folder();
    let executable = static_executable(folder.path());
    let mut args = build_args(&executable, &folder.path().join("image.tar"));
    change(&mut args);
    let built = build(&args).unwrap();
    let archive = fs::read(&args.output).unwrap();
    assert_eq!(archive.len() as u64, built.size);
    (built, entries(&archive), fs::read(executable).unwrap())
}

#[test]
fn index_manifest_configuration_and_layer_lead_to_the_executable() {
    let (built, archive, executable) = built(|_| {});
    let layout: OciLayout = serde_json::from_slice(&archive["oci-layout"].bytes).unwrap();
    assert_eq!(layout.image_layout_version(), "1.0.0");
    let index: ImageIndex = serde_json::from_slice(&archive["index.json"].bytes).unwrap();
    let [entry] = index.manifests().as_slice() else { panic!("one image: {index:?}") };
    assert_eq!(entry.digest(), &built.digest);
    let platform = entry.platform().as_ref().unwrap();
    assert_eq!(format!("{}/{}", platform.os(), platform.architecture()), Platform::native().to_string());

    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, entry)).unwrap();
    let configuration: ImageConfiguration = serde_json::from_slice(blob(&archive, manifest.config())).unwrap();
    assert_eq!(configuration.os(), &Os::Linux);
    assert_eq!(configuration.architecture(), platform.architecture());
    let config = configuration.config().as_ref().unwrap();
    assert_eq!(config.entrypoint().as_deref(), Some(&["/bin/netpol".to_owned()][..]));
    assert_eq!(config.env().as_deref(), Some(&["PATH=/bin".to_owned()][..]));
    assert_eq!(config.user().as_deref(), Some("0:0"));
    assert_eq!(config.cmd(), &None);

    let [layer] = manifest.layers().as_slice() else { panic!("one layer: {manifest:?}") };
    assert_eq!(layer.media_type(), &MediaType::ImageLayer);
    let layer = blob(&archive, layer);
    assert_eq!(configuration.rootfs().diff_ids(), &[format!("sha256:{}", sha256(layer))]);

    let root = entries(layer);
    assert_eq!(root.keys().collect::<Vec<_>>(), ["bin/", "bin/netpol", "bin/ping"]);
    assert_eq!(root["bin/netpol"].bytes, executable);
    assert_eq!((root["bin/netpol"].kind, root["bin/netpol"].mode), (EntryType::Regular, 0o755));
    assert_eq!(root["bin/ping"].kind, EntryType::Symlink);
    assert_eq!(root["bin/ping"].link.as_deref(), Some("netpol".as_ref()));
    for (path, entry) in root.iter().chain(&archive) {
        assert_eq!((entry.owner, entry.mtime), ((0, 0), 0), "{path}");
    }
}

#[test]
fn docker_and_containerd_find_the_same_image_under_the_same_name() {
    let (built, archive, _) = built(|_| {});
    assert_eq!(built.name, "docker.io/library/netpol:1.2.3");
    let index: ImageIndex = serde_json::from_slice(&archive["index.json"].bytes).unwrap();
    let entry = &index.manifests()[0];
    let annotations = entry.annotations().as_ref().unwrap();
    assert_eq!(annotations["io.containerd.image.name"], built.name);
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1.2.3");

    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, entry)).unwrap();
    let path = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.as_digest_sha256().unwrap());
    let docker: serde_json::Value = serde_json::from_slice(&archive["manifest.json"].bytes).unwrap();
    let expected = serde_json::json!([{
        "Config": path(manifest.config()),
        "RepoTags": [built.name],
        "Layers": [path(&manifest.layers()[0])],
    }]);
    assert_eq!(docker, expected);
}

#[test]
fn labels_are_the_specifications_and_may_be_added_to() {
    let key = "org.opencontainers.image.source";
    let (_, archive, _) = built(|args| {
        args.labels = vec![Label { key: key.to_owned(), value: "https://example.org".to_owned() }];
    });
    let index: ImageIndex = serde_json::from_slice(&archive["index.json"].bytes).unwrap();
    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, &index.manifests()[0])).unwrap();
    let configuration: ImageConfiguration = serde_json::from_slice(blob(&archive, manifest.config())).unwrap();
    let labels = configuration.labels_of_config().unwrap();
    assert_eq!(labels[key], "https://example.org");
    assert_eq!(labels["org.opencontainers.image.title"], "netpol");
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    assert_eq!(configuration.version(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn equal_executables_give_equal_archives() {
    let folder = folder();
    let executable = static_executable(folder.path());
    // Several times, because maps come in another order each time.
    let archives: Vec<Vec<u8>> = (0..8)
        .map(|i| {
            let output = folder.path().join(format!("{i}.tar"));
            let copy = folder.path().join(format!("copy-{i}"));
            fs::copy(&executable, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o400 + i)).unwrap();
            build(&build_args(&copy, &output)).unwrap();
            fs::read(output).unwrap()
        })
        .collect();
    assert!(archives.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_foreign_executable_makes_a_foreign_image() {
    let folder = folder();
    let mut bytes = fs::read(static_executable(folder.path())).unwrap();
    // e_machine, as the ELF header has it at offset 18: AArch64 is 183, x86-64 is 62.
    let machine: u16 = if other_platform() == Platform::LinuxArm64 { 183 } else { 62 };
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let executable = folder.path().join("foreign");
    fs::write(&executable, bytes).unwrap();
    let output = folder.path().join("foreign.tar");
    let args = BuildArgs { platform: other_platform(), ..build_args(&executable, &output) };
    build(&args).unwrap();
    let archive = entries(&fs::read(output).unwrap());
    let index: ImageIndex = serde_json::from_slice(&archive["index.json"].bytes).unwrap();
    let platform = index.manifests()[0].platform().clone().unwrap();
    assert_eq!(format!("{}/{}", platform.os(), platform.architecture()), other_platform().to_string());
}
