//! The HTTP side of a TCP listener: one resource that tells the requester its own address.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How requests begin; anything else on a TCP listener is the line protocol.
const METHODS: [&str; 9] = ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ", "CONNECT "];

/// Whether these first bytes begin an HTTP request; `None` while they could still become one.
pub(crate) fn is_request(first: &[u8]) -> Option<bool> {
    if METHODS.iter().any(|method| first.starts_with(method.as_bytes())) {
        Some(true)
    } else if METHODS.iter().any(|method| method.as_bytes().starts_with(first)) {
        None
    } else {
        Some(false)
    }
}

/// Serves the requests of one connection.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr) -> hyper::Result<()> {
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(respond(&request, peer)) });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

fn respond(request: &Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
    let (status, text) = match *request.method() {
        Method::GET | Method::HEAD => (StatusCode::OK, format!("server saw {}\n", peer.ip().to_canonical())),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_http_from_lines() {
        assert_eq!(is_request(b"GET / HTTP/1.1\r\n"), Some(true));
        assert_eq!(is_request(b"GE"), None);
        assert_eq!(is_request(b""), None);
        assert_eq!(is_request(b"GETTING"), Some(false));
        assert_eq!(is_request(b"P"), None);
        assert_eq!(is_request(b"probe a1\n"), Some(false));
        assert_eq!(is_request(b"beat 1\n"), Some(false));
    }
}
