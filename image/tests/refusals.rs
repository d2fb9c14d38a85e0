//! What cannot become an image is refused with the way out, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "each test binary uses its part of the support")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use netpol_image::{BuildArgs, ImageError, Platform, build};
use support::{build_args, dynamic_executable, folder, names, other_platform, static_executable};

#[test]
fn a_dynamic_executable_is_refused_with_the_command_that_builds_a_static_one() {
    let folder = folder();
    let executable = dynamic_executable(folder.path());
    let before = names(folder.path());
    let error = build(&build_args(&executable, &folder.path().join("image.tar"))).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let said = error.to_string();
    let arch = if Platform::native() == Platform::LinuxArm64 { "aarch64" } else { "x86_64" };
    for expected in [
        executable.to_str().unwrap().to_owned(),
        "program interpreter /".to_owned(),
        format!("cargo build --release --target {arch}-unknown-linux-musl"),
        format!("RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target {arch}-unknown-linux-gnu"),
    ] {
        assert!(said.contains(&expected), "'{expected}' is missing in:\n{said}");
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn an_executable_for_another_architecture_is_refused() {
    let folder = folder();
    let executable = static_executable(folder.path());
    let before = names(folder.path());
    let args = BuildArgs { platform: other_platform(), ..build_args(&executable, &folder.path().join("image.tar")) };
    let error = build(&args).unwrap_err();
    assert!(matches!(error, ImageError::OtherPlatform { .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(&other_platform().to_string()), "{error}");
    assert_eq!(names(folder.path()), before);
}

#[test]
fn what_is_no_executable_is_refused_and_the_previous_archive_stays() {
    let folder = folder();
    let (script, output) = (folder.path().join("script"), folder.path().join("image.tar"));
    fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    fs::write(&output, "the previous archive").unwrap();
    let error = build(&build_args(&script, &output)).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("not a 64-bit ELF executable"), "{error}");
    assert_eq!(fs::read(&output).unwrap(), b"the previous archive");
    assert_eq!(names(folder.path()), ["image.tar", "script"]);
}

#[test]
fn a_missing_executable_is_the_environments_failure() {
    let folder = folder();
    let error = build(&build_args(&folder.path().join("gone"), &folder.path().join("image.tar"))).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("gone"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_output_that_cannot_be_is_refused_before_anything_is_read() {
    let folder = folder();
    let executable = folder.path().join("not even there");
    for (output, expected) in [
        (folder.path().join("missing/image.tar"), "its folder does not exist"),
        (folder.path().to_owned(), "it is a folder"),
        ("".into(), "it names no file"),
    ] {
        let error = build(&build_args(&executable, &output)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_exists_is_replaced_as_a_whole_and_readable() {
    let folder = folder();
    let executable = static_executable(folder.path());
    let output = folder.path().join("image.tar");
    fs::write(&output, vec![b'x'; 1_000_000]).unwrap();
    let built = build(&build_args(&executable, &output)).unwrap();
    let metadata = fs::metadata(&output).unwrap();
    assert_eq!(metadata.len(), built.size);
    assert!(metadata.len() < 1_000_000);
    assert_ne!(metadata.permissions().mode() & 0o044, 0, "others load it too");
    assert_eq!(names(folder.path()), ["image.tar", "static", "static.c"]);
}

#[test]
fn a_folder_that_takes_no_files_is_the_environments_failure() {
    // Not by its permissions, which do not hold for root.
    let executables = folder();
    let executable = static_executable(executables.path());
    let error = build(&build_args(&executable, "/proc/self/image.tar".as_ref())).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("/proc/self/image.tar"), "{error}");
}
