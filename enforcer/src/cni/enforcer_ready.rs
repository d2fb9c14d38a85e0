//! Asks the node's enforcer whether it is ready.

use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer comes from the same node.
const PATIENCE: Duration = Duration::from_secs(1);

/// Nothing if the enforcer is ready; otherwise why not, as it says itself, or why it cannot be asked.
pub(super) async fn ask(url: &str) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, get(url)).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((code, body))) if body.trim().is_empty() => Err(format!("it answers {code}")),
        Ok(Ok((_, body))) => Err(body.trim().to_owned()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn get(url: &str) -> anyhow::Result<(StatusCode, String)> {
    let uri: Uri = url.parse().context("--ready is no URL")?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        anyhow::bail!("--ready has to be http://ADDRESS:PORT/PATH");
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.context("cannot connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header("host", authority.as_str()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let code = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}
