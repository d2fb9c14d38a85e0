//! The image under test: written by the static netpol, loaded into the engine, and removed with the test that had it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use futures::StreamExt;
use testcontainers::bollard::query_parameters::{ImportImageOptionsBuilder, RemoveImageOptionsBuilder};
use testcontainers::bollard::{Docker, body_full};
use testcontainers::core::ExecCommand;
use testcontainers::core::client::docker_client_instance;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::runtime::Builder;

/// Names a static netpol that has been built already; without it the tests build one.
const STATIC_NETPOL: &str = "NETPOL_STATIC";
/// What the tests' images are called.
const NAME: &str = "netpol-test";

/// The engine that `DOCKER_HOST` names, or else the machine's.
pub(crate) async fn engine() -> Docker {
    docker_client_instance().await.expect(
        "these tests need a container engine: start one, or name its socket by DOCKER_HOST; .ci/containers does",
    )
}

/// A static netpol.
fn static_netpol() -> PathBuf {
    if let Some(path) = env::var_os(STATIC_NETPOL) {
        return path.into();
    }
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this crate");
    let built = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--package", "netpol", "--target", &target])
        .env(format!("CC_{}", target.replace('-', "_")), "gcc")
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "no static netpol: run 'rustup target add {target}', or name one by {STATIC_NETPOL}");
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(folder).join(target).join("release/netpol")
}

/// The image in the engine under a name of its own; dropping it removes it.
pub(crate) struct LoadedImage {
    tag: String,
}

impl LoadedImage {
    /// Writes the archive, and loads it as `docker load` does.
    pub(crate) async fn new(test: &str) -> LoadedImage {
        static NETPOL: OnceLock<PathBuf> = OnceLock::new();
        let netpol = NETPOL.get_or_init(static_netpol);
        let loaded = LoadedImage { tag: format!("{test}-{}", std::process::id()) };
        let folder = tempfile::tempdir().expect("a folder for the archive");
        let archive = folder.path().join("image.tar");
        let built = Command::new(netpol)
            .args(["image", "build", "--name", &loaded.name(), "--output"])
            .arg(&archive)
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", netpol.display()));
        assert!(built.status.success(), "netpol image build: {}", String::from_utf8_lossy(&built.stderr));

        let bytes = std::fs::read(&archive).expect("the archive is there");
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let answers: Vec<_> = engine().await.import_image(options, body_full(bytes.into()), None).collect().await;
        assert!(answers.iter().all(Result::is_ok), "the engine refuses the archive: {answers:?}");
        loaded
    }

    /// To make containers of.
    pub(crate) fn image(&self) -> GenericImage {
        GenericImage::new(NAME, &self.tag)
    }

    /// As the engine names it.
    pub(crate) fn name(&self) -> String {
        format!("{NAME}:{}", self.tag)
    }
}

impl Drop for LoadedImage {
    fn drop(&mut self) {
        let name = self.name();
        // On a thread of its own, because a test's runtime cannot wait in a destructor.
        let removed = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().map(|runtime| {
                let options = RemoveImageOptionsBuilder::new().force(true).build();
                runtime.block_on(async { engine().await.remove_image(&name, Some(options), None).await.map(drop) })
            })
        });
        if !matches!(removed.join(), Ok(Ok(Ok(())))) {
            eprintln!("to remove the test's image: docker image rm {}", self.name());
        }
    }
}

/// What a command in a container printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i64>,
    pub(crate) stdout: String,
    /// For the message of a test that fails.
    #[expect(dead_code, reason = "read by Debug")]
    pub(crate) stderr: String,
}

/// Runs a command in a container to its end.
pub(crate) async fn exec(container: &ContainerAsync<GenericImage>, command: &[&str]) -> Ended {
    let mut running = container.exec(ExecCommand::new(command.iter().copied())).await.expect("the command starts");
    let stdout = running.stdout_to_vec().await.expect("stdout can be read");
    let stderr = running.stderr_to_vec().await.expect("stderr can be read");
    Ended {
        code: running.exit_code().await.expect("the exit code is known"),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
