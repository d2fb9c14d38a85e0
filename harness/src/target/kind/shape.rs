//! What a cluster is like, recorded in it: a later run may use it again, if it asks for the same.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::download::sha256;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "netpol-cluster";

/// What a cluster is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The CNI's entry.
    pub(super) cni: String,
    /// Everything that it was made from: kind configuration, manifests, and our image where the CNI is ours.
    pub(super) sha256: String,
    /// Whether it is to stay.
    pub(super) kept: bool,
}

impl Shape {
    /// Of a cluster that is made from these texts.
    pub(super) fn of(cni: &str, parts: &[&[u8]], kept: bool) -> Self {
        let digests: Vec<_> = parts.iter().map(|part| sha256(part)).collect();
        Shape { cni: cni.to_owned(), sha256: sha256(digests.join("\n").as_bytes()), kept }
    }

    /// Whether a cluster of this shape can stand in for one of that shape.
    pub(super) fn is_as(&self, other: &Shape) -> bool {
        (&self.cni, &self.sha256) == (&other.cni, &other.sha256)
    }
}

/// The shape that a cluster says it has; none if it is not ours, or was never finished.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn read(client: &Client) -> Result<Option<Shape>, kube::Error> {
    let recorded = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).get_opt(NAME).await?;
    Ok(recorded.and_then(|map| shape(&map.data.unwrap_or_default())))
}

fn shape(data: &BTreeMap<String, String>) -> Option<Shape> {
    let (cni, sha256) = (data.get("cni")?.clone(), data.get("shape")?.clone());
    Some(Shape { cni, sha256, kept: data.get("kept").is_some_and(|kept| kept == "true") })
}

/// Records a cluster's shape in it.
///
/// # Errors
/// The API server did not take it.
pub(super) async fn record(client: &Client, shape: &Shape) -> Result<(), kube::Error> {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {"cni": shape.cni, "shape": shape.sha256, "kept": shape.kept.to_string(), "version": env!("CARGO_PKG_VERSION")},
    });
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    maps.patch(NAME, &PatchParams::apply("netpol").force(), &Patch::Apply(map)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_changes_with_every_part() {
        let shape = Shape::of("calico", &[b"config", b"manifest"], false);
        assert!(shape.is_as(&Shape::of("calico", &[b"config", b"manifest"], true)));
        for other in [
            Shape::of("enforcer", &[b"config", b"manifest"], false),
            Shape::of("calico", &[b"confi", b"gmanifest"], false),
            Shape::of("calico", &[b"config"], false),
        ] {
            assert!(!shape.is_as(&other));
        }
    }

    #[test]
    fn a_record_that_is_not_whole_is_none() {
        let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(shape(&data(&[("cni", "calico")])), None);
        let whole = shape(&data(&[("cni", "calico"), ("shape", "1"), ("kept", "true")]));
        assert_eq!(whole, Some(Shape { cni: "calico".into(), sha256: "1".into(), kept: true }));
    }
}
