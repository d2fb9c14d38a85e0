//! The embedded cluster: a small API server, nodes and pods as network namespaces
pub mod api;
