//! netpol's image in a container engine: what it says of itself, and how it behaves as a lone container.

mod engine;

use std::time::{Duration, Instant};

use engine::{LoadedImage, engine as connect, exec};
use testcontainers::ImageExt;
use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner;

/// What a node has to pull, in bytes.
const LARGEST: i64 = 30_000_000;

#[tokio::test]
async fn it_is_small() {
    let loaded = LoadedImage::new("size").await;
    let image = connect().await.inspect_image(&loaded.name()).await.unwrap();
    let size = image.size.unwrap();
    assert!(size > 1_000_000 && size <= LARGEST, "{size} bytes");
}

#[tokio::test]
async fn its_configuration_names_user_entry_point_and_labels() {
    let loaded = LoadedImage::new("configuration").await;
    let image = connect().await.inspect_image(&loaded.name()).await.unwrap();
    let config = image.config.unwrap();
    assert_eq!(config.user.as_deref(), Some("0:0"));
    assert_eq!(config.entrypoint.as_deref(), Some(&["/bin/netpol".to_owned()][..]));
    assert_eq!(config.env.as_deref(), Some(&["PATH=/bin".to_owned()][..]));
    assert_eq!(config.cmd.unwrap_or_default(), Vec::<String>::new());
    assert_eq!(config.labels.unwrap()["org.opencontainers.image.title"], "netpol");
    assert_eq!(image.os.as_deref(), Some("linux"));
}

#[tokio::test]
async fn arguments_go_to_netpol() {
    let loaded = LoadedImage::new("arguments").await;
    let ready = WaitFor::exit(testcontainers::core::wait::ExitWaitStrategy::new().with_exit_code(0));
    let container = loaded.image().with_wait_for(ready).with_cmd(["--version"]).start().await.unwrap();
    let said = String::from_utf8(container.stdout_to_vec().await.unwrap()).unwrap();
    assert_eq!(said, format!("netpol {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn sigterm_ends_a_server_at_once_with_0() {
    let loaded = LoadedImage::new("sigterm").await;
    let server = loaded.image().with_cmd(["agent", "server", "--port", "8888"]).start().await.unwrap();
    // It answers, so its handlers are installed.
    assert_eq!(exec(&server, &["netpol", "agent", "attach"]).await.code, Some(0));
    let began = Instant::now();
    server.stop_with_timeout(Some(30)).await.unwrap();
    let took = began.elapsed();
    assert_eq!(server.exit_code().await.unwrap(), Some(0), "137 would be SIGKILL");
    assert!(took < Duration::from_secs(10), "{took:?}: the engine waited for its SIGKILL");
}

#[tokio::test]
async fn attach_by_exec_says_hello_to_who_connects() {
    let loaded = LoadedImage::new("attach").await;
    let server = loaded.image().with_cmd(["agent", "server"]).with_readonly_rootfs(true).start().await.unwrap();
    let ended = exec(&server, &["/bin/netpol", "agent", "attach"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let hello: serde_json::Value = serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(hello["hello"]["wire"], 2);
    assert_eq!(hello["hello"]["uid"].as_str().unwrap().len(), 32);

    // Its processes belong to root: the packet capture's capability is effective for root only.
    let processes = connect().await.top_processes(server.id(), None).await.unwrap();
    let (titles, processes) = (processes.titles.unwrap(), processes.processes.unwrap());
    let uid = titles.iter().position(|title| title == "UID").unwrap();
    assert!(processes.iter().all(|process| process[uid] == "root"), "{processes:?}");
}
