//! The API server as clients meet it: kube-rs and, where it is installed, kubectl, over TLS on loopback.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod cluster;
mod exec_and_logs;
mod hollow;
mod kubectl;
mod lists;
mod misbehaving;
mod objects;
mod raw_http;
mod subresources;
mod watching;
