//! Downloads against a local HTTP server: good, altered, refused, cut off, not there; and the cache.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use netpol_harness::target::kind::cni_entry::Download;
use netpol_harness::target::kind::download::{DownloadError, address, fetch, sha256};
use netpol_harness::target::kind::remedy;

const MANIFEST: &str = "kind: DaemonSet\n";

/// Answers one request with these bytes; says what was asked for.
fn server(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let prefix = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
    });
    (prefix, serving)
}

fn ok(body: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn pinned() -> Download {
    let url = "https://example.invalid/projectcalico/calico/v1/calico.yaml".to_owned();
    Download { version: "v1".into(), url, sha256: sha256(MANIFEST.as_bytes()) }
}

/// A cache of its own; removed when dropped.
struct Cache(PathBuf);

impl Cache {
    fn new(name: &str) -> Self {
        Cache(std::env::temp_dir().join(format!("netpol-cache-{}-{name}", std::process::id())))
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, |entries| entries.count())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[tokio::test]
async fn what_is_pinned_is_fetched_from_the_mirror_once() {
    let cache = Cache::new("good");
    let (mirror, serving) = server(ok(MANIFEST, MANIFEST.len()));
    assert_eq!(fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap(), MANIFEST);
    assert_eq!(serving.join().unwrap(), "GET /projectcalico/calico/v1/calico.yaml HTTP/1.1");
    // The server answers once only: this comes from the cache.
    assert_eq!(fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap(), MANIFEST);
    assert_eq!(cache.files(), 1);
}

#[tokio::test]
async fn a_damaged_cache_is_not_believed() {
    let cache = Cache::new("damaged");
    std::fs::create_dir_all(&cache.0).unwrap();
    std::fs::write(cache.0.join(format!("{}.yaml", pinned().sha256)), "kind: Other").unwrap();
    let (mirror, serving) = server(ok(MANIFEST, MANIFEST.len()));
    assert_eq!(fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap(), MANIFEST);
    serving.join().unwrap();
}

#[tokio::test]
async fn an_altered_file_is_refused_and_not_kept() {
    let cache = Cache::new("altered");
    let (mirror, _serving) = server(ok("kind: DaemonsSet", 16));
    let error = fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Altered { expected, .. } if *expected == pinned().sha256), "{error}");
    assert_eq!(cache.files(), 0);
    assert!(remedy::find(&error.to_string()).unwrap().cause.contains("altered"));
}

#[tokio::test]
async fn a_refusal_is_said_with_the_servers_answer() {
    let cache = Cache::new("refused");
    let (mirror, _serving) = server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into());
    let error = fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Refused { status, .. } if status.as_u16() == 404), "{error}");
    assert!(remedy::find(&error.to_string()).unwrap().remedy.contains("--cni-manifest"));
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_no_manifest() {
    let cache = Cache::new("cut");
    let (mirror, _serving) = server(ok(MANIFEST, MANIFEST.len() + 10));
    let error = fetch(&pinned(), Some(&mirror), &cache.0).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Cut { bytes, .. } if *bytes == MANIFEST.len() as u64), "{error}");
    assert_eq!(cache.files(), 0);
    assert!(remedy::find(&error.to_string()).is_some());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let cache = Cache::new("nobody");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(&pinned(), Some(&format!("http://{free}")), &cache.0).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Unreachable { cause, .. } if cause.contains("refused")), "{error}");
    assert!(remedy::find(&error.to_string()).unwrap().remedy.contains("--mirror"));
}

#[test]
fn a_mirror_replaces_scheme_and_host() {
    let url = "https://raw.githubusercontent.com/a/b/v1/c.yaml";
    assert_eq!(address(url, Some("http://10.0.0.1:8080/github")), "http://10.0.0.1:8080/github/a/b/v1/c.yaml");
    assert_eq!(address(url, None), url);
}
