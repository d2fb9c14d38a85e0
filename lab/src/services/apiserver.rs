//! The Service `kubernetes` in `default`: the API server for clients in the cluster.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::controller::unmanaged;
use crate::api::resources::{ENDPOINT_SLICE, SERVICE};
use crate::api::{Status, Store};
use crate::net::addresses::{Family, host};

/// Its name, and that of its slice.
pub(crate) const SERVICE_NAME: &str = "kubernetes";

/// Creates Service and slice. The Service has the first address of its network, in the family of `listener`.
///
/// # Errors
/// What the store refuses.
pub(crate) fn publish_api_server(store: &Store, listener: SocketAddr) -> Result<IpAddr, Status> {
    let family = Family::of(listener.ip());
    let address = host(family.service_cidr(), 1);
    let labels = json!({"component": "apiserver", "provider": SERVICE_NAME});
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": address,
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": listener.port()}],
    });
    let metadata = json!({"name": SERVICE_NAME, "labels": labels});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    store.create(SERVICE, "default", service)?;
    let port = json!({"name": "https", "port": listener.port(), "protocol": "TCP"});
    let slice = unmanaged(SERVICE_NAME, family.name(), &listener.ip().to_string(), port);
    store.create(ENDPOINT_SLICE, "default", slice)?;
    Ok(address)
}
