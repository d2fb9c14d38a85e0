//! The lab's API server: a store of JSON objects behind the Kubernetes REST API, small and honest. What it does not
//! serve it refuses by name, with a `Status` object.
//!
//! In the same process the kubelet and the controllers use [`Store`] directly; [`Runtime`] is what they give back
//! so that `exec` and `log` work.

pub mod resources;
pub mod runtime;
pub mod selectors;
pub mod status;
pub mod store;
pub mod watch;

mod defaults;
mod deletion;
mod metadata;
mod object;
mod strategy;
mod validate;

pub use object::Object;
pub use resources::Kind;
pub use runtime::Runtime;
pub use status::Status;
pub use store::{DeleteOptions, Deletion, From, List, Part, Store};
pub use watch::{Filter, Watch, WatchEvent};
