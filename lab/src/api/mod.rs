//! The lab's API server: a store of JSON objects behind the Kubernetes REST API, small and honest. What it does not
//! serve it refuses by name, with a `Status` object.
//!
//! In the same process the kubelet and the controllers use [`Store`] directly; [`Runtime`] is what they give back
//! so that `exec` and `log` work.

pub mod kubeconfig;
pub mod misbehaviour;
pub mod resources;
pub mod runtime;
pub mod selectors;
pub mod server;
pub mod status;
pub mod store;
pub mod tls;
pub mod watch;

mod access;
mod accounts;
mod decode;
mod defaults;
mod deletion;
mod discovery;
mod exec;
mod feed;
mod forms;
mod logs;
mod media;
mod metadata;
mod object;
mod openapi;
mod paging;
mod parameters;
mod patch;
mod protobuf;
mod read;
mod routes;
mod services;
mod strategy;
mod subresources;
mod table;
mod validate;
mod write;

pub use accounts::Accounts;
pub use kubeconfig::kubeconfig;
pub(crate) use metadata::now;
pub use misbehaviour::Misbehaviour;
pub use object::Object;
pub use resources::Kind;
pub use runtime::Runtime;
pub use server::{Listener, serve, serve_misbehaving};
pub use status::Status;
pub use store::{DeleteOptions, Deletion, From, List, Part, Store};
pub use tls::Credentials;
pub use watch::{Filter, Watch, WatchEvent};
