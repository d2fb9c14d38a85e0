//! Reading `fixtures/topologies/*.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use include_dir::{Dir, include_dir};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use serde::Deserialize;
use serde_json::Value;

use super::{CREATE, SLOT, needs, waves};
use crate::Problem;
use crate::decode::Report;
use crate::plan::placeholder::{Placeholder, join, map_strings, replace};
use crate::plan::{PodRef, Topology};

static FIXTURES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../fixtures/topologies");

/// The topologies in this executable, by name.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn embedded() -> Result<BTreeMap<String, Topology>, Vec<Problem>> {
    let (mut topologies, mut problems) = (BTreeMap::new(), Vec::new());
    for file in FIXTURES.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "yaml")) {
        let path = format!("topologies/{}", file.path().display());
        let stem = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match parse(&path, &stem, file.contents_utf8().unwrap_or_default()) {
            Ok(topology) => drop(topologies.insert(stem, topology)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(topologies) } else { Err(problems) }
}

/// Reads the manifests of one topology.
///
/// # Errors
/// Everything that is wrong in them.
pub fn parse(file: &str, name: &str, text: &str) -> Result<Topology, Vec<Problem>> {
    let mut report = Report::new(file);
    let mut topology = Topology {
        name: name.to_owned(),
        namespaces: Vec::new(),
        pods: BTreeMap::new(),
        slots: BTreeMap::new(),
        services: BTreeMap::new(),
        later: BTreeSet::new(),
    };
    let mut places = BTreeMap::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let path = format!("[{index}]");
        let value = match serde_yaml::Value::deserialize(document) {
            Ok(value) => value,
            Err(error) => {
                report.not_yaml(&error);
                break;
            }
        };
        let Some(value) = report.json(&value) else { continue };
        match value.get("kind").and_then(Value::as_str) {
            Some("Namespace") => {
                if let Some(namespace) = report.decode::<Namespace>(&value, &path) {
                    topology.namespaces.push(namespace);
                }
            }
            Some("Pod") => {
                if let Some(pod) = report.decode::<Pod>(&value, &path) {
                    add_pod(&mut topology, &mut report, &path, &mut places, pod);
                }
            }
            Some("Service") => {
                if let Some(service) = report.decode::<Service>(&value, &path) {
                    add_service(&mut topology, &mut report, &path, service);
                }
            }
            other => report.add(
                &path,
                format!("kind {} has no place in a topology", other.unwrap_or("(none)")),
                "write Namespaces, Pods and Services; policies belong into suites",
            ),
        }
    }
    check(&topology, &mut report, &places);
    report.finish(text).map_or(Ok(topology), Err)
}

fn add_pod(topology: &mut Topology, report: &mut Report, path: &str, places: &mut BTreeMap<PodRef, String>, pod: Pod) {
    let (Some(name), Some(namespace)) = (pod.metadata.name.clone(), pod.metadata.namespace.clone()) else {
        report.add(&join(path, "metadata"), "a pod needs name and namespace".to_owned(), "give both");
        return;
    };
    let slot =
        pod.metadata.annotations.as_ref().and_then(|all| all.get(SLOT)).cloned().unwrap_or_else(|| "a".to_owned());
    let pod_ref = PodRef { namespace, name };
    if topology.pods.insert(pod_ref.clone(), pod).is_some() {
        report.add(
            &join(path, "metadata.name"),
            format!("pod {pod_ref} is there twice"),
            "give one of them another name",
        );
    }
    topology.slots.insert(pod_ref.clone(), slot);
    match pod_annotation(topology, &pod_ref).as_deref() {
        None => {}
        Some("later") => drop(topology.later.insert(pod_ref.clone())),
        Some(other) => {
            let what = format!("'{other}' is no time at which a pod is created");
            report.add(&join(path, &format!("metadata.annotations.{CREATE}")), what, "write later, or take it away");
        }
    }
    places.insert(pod_ref, path.to_owned());
}

fn pod_annotation(topology: &Topology, pod: &PodRef) -> Option<String> {
    topology.pods.get(pod)?.metadata.annotations.as_ref()?.get(CREATE).cloned()
}

fn add_service(topology: &mut Topology, report: &mut Report, path: &str, service: Service) {
    let (Some(name), Some(namespace)) = (service.metadata.name.clone(), service.metadata.namespace.clone()) else {
        report.add(&join(path, "metadata"), "a Service needs name and namespace".to_owned(), "give both");
        return;
    };
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.selector.as_ref()).is_none_or(BTreeMap::is_empty) {
        let what = format!("nothing tells what is behind Service {namespace}/{name}");
        report.add(&join(path, "spec.selector"), what, "select pods by their labels");
    }
    if topology.services.insert(PodRef { namespace, name: name.clone() }, service).is_some() {
        report.add(&join(path, "metadata.name"), format!("Service {name} is there twice"), "give one another name");
    }
}

fn check(topology: &Topology, report: &mut Report, places: &BTreeMap<PodRef, String>) {
    for (pod_ref, pod) in &topology.pods {
        let Some(path) = places.get(pod_ref) else { continue };
        if let Err(what) = super::find_namespace(topology, &pod_ref.namespace) {
            report.add(&join(path, "metadata.namespace"), what, "add a document of kind Namespace");
        }
        let value = serde_json::to_value(pod).unwrap_or_default();
        map_strings(&value, path, &mut |text, place| {
            let checked = replace(text, |inner| Placeholder::parse(inner, topology).map(|_| None));
            for what in checked.err().unwrap_or_default() {
                report.add(place, what, "name a pod of this topology");
            }
            text.into()
        });
    }
    let mut placed: Vec<PodRef> = waves(topology).concat();
    let later = topology.pods.iter().filter(|(name, _)| topology.later.contains(*name));
    let created: Vec<PodRef> =
        later.filter(|(name, pod)| !needs(topology, pod).contains(*name)).map(|(name, _)| name.clone()).collect();
    placed.extend(created);
    for (pod_ref, path) in places.iter().filter(|(pod_ref, _)| !placed.contains(pod_ref)) {
        let what = format!(
            "pod {pod_ref} can never be created: its arguments need addresses that need its own, or unknown ones"
        );
        report.add(path, what, "take a placeholder away");
    }
}
