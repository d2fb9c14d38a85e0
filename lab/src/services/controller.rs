//! The controller of EndpointSlices.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use super::slices::{MANAGED_BY, SERVICE_NAME, slices};
use crate::api::resources::{ENDPOINT_SLICE, POD, SERVICE};
use crate::api::selectors::LabelSelector;
use crate::api::{DeleteOptions, Filter, From, Object, Part, Status, Store};

/// Keeps the slices of every Service with a selector.
///
/// # Errors
/// If the controller falls too far behind the changes, or the store refuses a slice.
pub(crate) async fn keep_slices(store: Store) -> Result<(), Status> {
    let mut services = store.watch(SERVICE, Filter::default(), From::Now)?;
    let mut pods = store.watch(POD, Filter::default(), From::Now)?;
    // Somebody else may change or delete what is ours.
    let own = Filter { labels: managed()?, ..Filter::default() };
    let mut slices = store.watch(ENDPOINT_SLICE, own, From::Now)?;
    loop {
        let mut namespaces = BTreeSet::new();
        let event = tokio::select! {
            event = services.next() => event?,
            event = pods.next() => event?,
            event = slices.next() => event?,
        };
        namespaces.insert(event.object().namespace().to_owned());
        for watch in [&mut services, &mut pods, &mut slices] {
            while let Some(event) = watch.try_next()? {
                namespaces.insert(event.object().namespace().to_owned());
            }
        }
        namespaces.iter().try_for_each(|namespace| keep_in(&store, namespace))?;
    }
}

fn managed() -> Result<LabelSelector, Status> {
    LabelSelector::parse(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1))
}

fn keep_in(store: &Store, namespace: &str) -> Result<(), Status> {
    let in_namespace = Filter { namespace: Some(namespace.to_owned()), ..Filter::default() };
    let mut wanted = std::collections::BTreeMap::new();
    for object in store.list(SERVICE, &in_namespace).items {
        let Some(labels) = selector(&object)? else { continue };
        let Ok(service) = object.parse::<Service>() else { continue };
        let selected = Filter { labels, ..in_namespace.clone() };
        let pods: Vec<Pod> = store.list(POD, &selected).items.iter().filter_map(|pod| pod.parse().ok()).collect();
        wanted.extend(slices(&service, &pods));
    }
    let own = Filter { labels: managed()?, ..in_namespace };
    let present = store.list(ENDPOINT_SLICE, &own).items;
    for slice in &present {
        if !wanted.contains_key(slice.name()) {
            tolerate(store.delete(ENDPOINT_SLICE, namespace, slice.name(), &DeleteOptions::default()))?;
        }
    }
    for (name, slice) in wanted {
        let mut slice = serde_json::to_value(slice).unwrap_or_default();
        if !present.iter().any(|present| present.name() == name) {
            tolerate(store.create(ENDPOINT_SLICE, namespace, slice))?;
            continue;
        }
        tolerate(store.modify(ENDPOINT_SLICE, namespace, &name, Part::Everything, |next| {
            for key in ["endpoints", "ports", "addressType"] {
                next[key] = slice[key].take();
            }
            for key in ["labels", "ownerReferences"] {
                next["metadata"][key] = slice["metadata"][key].take();
            }
            Ok(())
        }))?;
    }
    Ok(())
}

/// The Service's selector; none if others provide its endpoints.
fn selector(service: &Object) -> Result<Option<LabelSelector>, Status> {
    let spec = &service.value()["spec"];
    let Some(labels) = spec["selector"].as_object().filter(|labels| !labels.is_empty()) else { return Ok(None) };
    if spec["type"] == "ExternalName" {
        return Ok(None);
    }
    let terms: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    LabelSelector::parse(&terms.join(",")).map(Some)
}

/// The namespace may be going, and others may have been faster: their change is an event of its own.
fn tolerate<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if !matches!(status.code, 403 | 404 | 409) => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A slice that no controller manages, for a Service without a selector.
pub(super) fn unmanaged(service: &str, family: &str, endpoint: &str, port: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {SERVICE_NAME: service}},
        "addressType": family,
        "endpoints": [{"addresses": [endpoint], "conditions": {"ready": true}}],
        "ports": [port],
    })
}
