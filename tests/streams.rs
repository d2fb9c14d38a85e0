//! Between harness and API server stands a proxy that cuts every connection again and again, refuses new ones for a while, as a
//! server that restarts does, and answers 429: a run must lose nothing by it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use support::{Target, run, words};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// What the proxy did to its clients.
#[derive(Default)]
struct Harm {
    cut: AtomicU32,
    refused: AtomicU32,
    too_many: AtomicU32,
}

/// A plain HTTP proxy in front of one API server.
struct Proxy {
    kubeconfig: PathBuf,
    harm: Arc<Harm>,
    _runtime: tokio::runtime::Runtime,
}

/// Which harm is done: every connection cut so often; every n-th request answered with 429.
#[derive(Clone, Copy)]
struct Faults {
    cut_every: Option<Duration>,
    too_many_every: Option<u32>,
}

impl Proxy {
    fn before(target: &Target, faults: Faults) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let text = std::fs::read_to_string(&target.kubeconfig).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
        let server: SocketAddr = cluster["server"].as_str().unwrap().strip_prefix("https://").unwrap().parse().unwrap();
        let authority = cluster.remove("certificate-authority-data").unwrap();
        let connector = connector(authority.as_str().unwrap());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        cluster.insert("server".into(), format!("http://{}", listener.local_addr().unwrap()).into());
        let kubeconfig = std::env::temp_dir().join(format!("netpol-proxy-{}", listener.local_addr().unwrap().port()));
        std::fs::write(&kubeconfig, serde_yaml::to_string(&config).unwrap()).unwrap();
        let harm = Arc::new(Harm::default());
        runtime.spawn(serve(listener, server, connector, faults, harm.clone()));
        Proxy { kubeconfig, harm, _runtime: runtime }
    }

    fn flag(&self) -> String {
        format!("kubeconfig:{}", self.kubeconfig.display())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        std::fs::remove_file(&self.kubeconfig).ok();
    }
}

fn connector(authority: &str) -> TlsConnector {
    let pem = decode(authority);
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

async fn serve(listener: TcpListener, server: SocketAddr, connector: TlsConnector, faults: Faults, harm: Arc<Harm>) {
    let (cut, cuts) = watch::channel(0u32);
    let down = Arc::new(AtomicBool::new(false));
    if let Some(every) = faults.cut_every {
        let down = down.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                // As a server that restarts: everything breaks, and for a while nothing can be opened.
                down.store(true, Ordering::Relaxed);
                cut.send_modify(|count| *count += 1);
                tokio::time::sleep(Duration::from_millis(300)).await;
                down.store(false, Ordering::Relaxed);
            }
        });
    }
    let mut count = 0;
    while let Ok((client, _)) = listener.accept().await {
        if down.load(Ordering::Relaxed) {
            harm.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        count += 1;
        if faults.too_many_every.is_some_and(|every| count % every == 0) {
            harm.too_many.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(too_many(client));
            continue;
        }
        let (connector, mut cuts, harm) = (connector.clone(), cuts.clone(), harm.clone());
        cuts.mark_unchanged();
        tokio::spawn(async move {
            let mut client = client;
            let Ok(stream) = TcpStream::connect(server).await else { return };
            let name = ServerName::from(server.ip());
            let Ok(mut stream) = connector.connect(name, stream).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut stream) => {}
                Ok(()) = cuts.changed() => {
                    harm.cut.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// As an API server's priority and fairness answers when it is full.
async fn too_many(mut client: TcpStream) {
    let mut request = [0; 16 * 1024];
    // Any part of the request will do: the answer does not depend on it.
    let Ok(_length) = client.read(&mut request).await else { return };
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too many requests, please try again later","reason":"TooManyRequests","code":429}"#;
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await.ok();
    client.shutdown().await.ok();
}

/// A case with three stages, a held connection and pings; each cell must be measured.
fn loses_nothing(proxy: &Proxy) {
    let output = run(&["walkthrough/additivity", "--target", &proxy.flag(), "--profile", "full", "--output", "json"]);
    assert!(output.status.success(), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = report["cases"][0]["steps"].as_array().unwrap();
    assert!(steps.len() >= 3 && steps.iter().all(|step| step["status"] == "passed"), "{}", words(&output));
}

#[test]
fn a_run_survives_an_api_server_that_restarts_again_and_again() {
    let lab = Target::up(&["lab"]);
    let proxy = Proxy::before(&lab, Faults { cut_every: Some(Duration::from_secs(1)), too_many_every: None });
    loses_nothing(&proxy);
    assert!(proxy.harm.cut.load(Ordering::Relaxed) >= 10, "hardly anything was cut: the test shows nothing");
}

#[test]
fn a_run_survives_an_api_server_that_is_full() {
    let lab = Target::up(&["lab"]);
    let proxy = Proxy::before(&lab, Faults { cut_every: None, too_many_every: Some(3) });
    loses_nothing(&proxy);
    assert!(proxy.harm.too_many.load(Ordering::Relaxed) >= 3, "hardly anything was refused: the test shows nothing");
}

/// Base64 with padding, as kubeconfigs hold it.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for digit in text.bytes().filter(|c| *c != b'=' && !c.is_ascii_whitespace()) {
        bits = bits << 6 | u32::from(value(digit));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
