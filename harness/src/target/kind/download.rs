//! A published manifest: fetched once, checked by its SHA-256, kept in the user's cache.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::cni_entry::Download;

/// Manifests are a few hundred kilobytes; more than this is something else.
const AT_MOST: u64 = 64 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(15);
/// Without a byte for this long, a download is over.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no manifest.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The server cannot be reached.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        cause: String,
    },
    /// The server did not hand it out.
    #[error("{url} was refused: {status}")]
    Refused {
        /// The address.
        url: String,
        /// The server's answer.
        status: reqwest::StatusCode,
    },
    /// It ended early.
    #[error("{url} was cut off after {bytes} bytes: {cause}")]
    Cut {
        /// The address.
        url: String,
        /// What had arrived.
        bytes: u64,
        /// Why.
        cause: String,
    },
    /// It is not the file that the entry pins.
    #[error("{url} is not the file that the entry pins: its SHA-256 is {found}, not {expected}")]
    Altered {
        /// The address.
        url: String,
        /// What the entry says.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// The cache cannot be written.
    #[error("{} cannot be written: {cause}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

/// The manifest's text, from the cache or else from its address.
///
/// # Errors
/// [`DownloadError`]; nothing that is not the pinned file stays in the cache.
pub async fn fetch(download: &Download, mirror: Option<&str>, cache: &Path) -> Result<String, DownloadError> {
    let place = cache.join(format!("{}.yaml", download.sha256));
    if let Ok(bytes) = std::fs::read(&place)
        && sha256(&bytes) == download.sha256
    {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let url = address(&download.url, mirror);
    let bytes = receive(&url).await?;
    let found = sha256(&bytes);
    if found != download.sha256 {
        return Err(DownloadError::Altered { url, expected: download.sha256.clone(), found });
    }
    keep(&place, &bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The entry's address, or the same path below a mirror.
pub fn address(url: &str, mirror: Option<&str>) -> String {
    match (mirror, reqwest::Url::parse(url)) {
        (Some(mirror), Ok(url)) => format!("{mirror}{}", url.path()),
        _ => url.to_owned(),
    }
}

async fn receive(url: &str) -> Result<Vec<u8>, DownloadError> {
    let unreachable = |error: reqwest::Error| DownloadError::Unreachable { url: url.to_owned(), cause: chain(&error) };
    // Another part of the program may have chosen it already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).user_agent("netpol");
    if url.starts_with("http:") {
        // A mirror without TLS needs no certificates, which a small container may not have.
        builder = builder.tls_certs_only([]);
    }
    let response = builder.build().map_err(unreachable)?.get(url).send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(DownloadError::Refused { url: url.to_owned(), status: response.status() });
    }
    let bar = progress(response.content_length());
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    let cut =
        |bytes: &Vec<u8>, cause: String| DownloadError::Cut { url: url.to_owned(), bytes: bytes.len() as u64, cause };
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| cut(&bytes, chain(&error)))?;
        bytes.extend_from_slice(&chunk);
        bar.set_position(bytes.len() as u64);
        if bytes.len() as u64 > AT_MOST {
            return Err(cut(&bytes, "it is too large for a manifest".into()));
        }
    }
    bar.finish_and_clear();
    Ok(bytes)
}

fn progress(length: Option<u64>) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template("  {bytes}/{total_bytes} {bar:40} {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar
}

/// Under its name only when it is whole: another netpol may read it at any moment.
fn keep(place: &Path, bytes: &[u8]) -> Result<(), DownloadError> {
    let cannot = |cause| DownloadError::Cache { path: place.to_owned(), cause };
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let part = place.with_extension(format!("part-{}", std::process::id()));
    let written = std::fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let kept = written.and_then(|()| std::fs::rename(&part, place));
    kept.inspect_err(|_| _ = std::fs::remove_file(&part)).map_err(cannot)
}

/// In lower case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error with its causes, which reqwest leaves out of its own text.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
