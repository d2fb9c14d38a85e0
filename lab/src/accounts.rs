//! The controller of service accounts: every namespace has `default`, which pods run as that name none.

use serde_json::json;

use crate::api::resources::{NAMESPACE, SERVICE_ACCOUNT};
use crate::api::{Filter, From, Status, Store, WatchEvent};

/// The account of pods that name none.
const DEFAULT: &str = "default";

/// Creates the account in every namespace that comes, and again where somebody has deleted it.
///
/// # Errors
/// If this falls too far behind the changes, or the store refuses an account.
pub(crate) async fn keep(store: Store) -> Result<(), Status> {
    let mut namespaces = store.watch(NAMESPACE, Filter::default(), From::Now)?;
    let mut accounts = store.watch(SERVICE_ACCOUNT, Filter::default(), From::Now)?;
    loop {
        let namespace = tokio::select! {
            event = namespaces.next() => match event? {
                WatchEvent::Added(namespace) => namespace.name().to_owned(),
                _ => continue,
            },
            event = accounts.next() => match event? {
                WatchEvent::Deleted(account) if account.name() == DEFAULT => account.namespace().to_owned(),
                _ => continue,
            },
        };
        let account = json!({ "metadata": { "name": DEFAULT } });
        match store.create(SERVICE_ACCOUNT, &namespace, account) {
            // Its namespace is going or gone, or somebody was faster.
            Err(status) if matches!(status.code, 403 | 404 | 409) => {}
            other => drop(other?),
        }
    }
}
