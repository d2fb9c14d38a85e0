//! Topologies as people write them: plain Kubernetes manifests of namespaces and pods.

mod load;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerPort, Pod, Service};

use crate::Problem;
use crate::plan::placeholder::{Placeholder, bind, map_strings, replace};
use crate::plan::{Bindings, PodRef, Topology, Traffic, Transport};

pub use load::{embedded, parse};

/// The annotation that names the node slot of a pod.
pub const SLOT: &str = "netpol.dev/node";
/// The annotation of a pod that a step creates: its value is `later`.
pub const CREATE: &str = "netpol.dev/create";

/// The pod that `text` names: `ns/pod`, or `pod` where one namespace alone has a pod of this name.
///
/// # Errors
/// A sentence, where there is no such pod or more than one.
pub(crate) fn find_pod(topology: &Topology, text: &str) -> Result<PodRef, String> {
    let matching: Vec<&PodRef> = match text.split_once('/') {
        Some((namespace, name)) => {
            topology.pods.keys().filter(|pod| pod.namespace == namespace && pod.name == name).collect()
        }
        None => topology.pods.keys().filter(|pod| pod.name == text).collect(),
    };
    match matching.as_slice() {
        [pod] => Ok((*pod).clone()),
        [] => {
            let known: Vec<String> = topology.pods.keys().map(ToString::to_string).collect();
            Err(format!("topology {} has no pod '{text}': it has {}", topology.name, known.join(", ")))
        }
        _ => Err(format!("topology {} has several pods '{text}': say NAMESPACE/{text}", topology.name)),
    }
}

/// The logical namespace of this name.
///
/// # Errors
/// A sentence, where there is none.
pub(crate) fn find_namespace(topology: &Topology, name: &str) -> Result<String, String> {
    let mut known = topology.namespaces.iter().filter_map(|namespace| namespace.metadata.name.as_deref());
    match known.clone().find(|known| *known == name) {
        Some(found) => Ok(found.to_owned()),
        None => {
            let first = known.next().unwrap_or_default().to_owned();
            let known = known.fold(first, |list, next| format!("{list}, {next}"));
            Err(format!("topology {} has no namespace '{name}': it has {known}", topology.name))
        }
    }
}

/// The Service that `text` names: `ns/name`, or `name` where one namespace alone has a Service of this name.
///
/// # Errors
/// A sentence, where there is no such Service or more than one.
pub(crate) fn find_service(topology: &Topology, text: &str) -> Result<PodRef, String> {
    let (namespace, name) = text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
    let fits = |service: &&PodRef| service.name == name && namespace.is_none_or(|wanted| service.namespace == wanted);
    let mut matching = topology.services.keys().filter(fits);
    match (matching.next(), matching.next()) {
        (Some(service), None) => Ok(service.clone()),
        (None, _) => {
            let known: Vec<String> = topology.services.keys().map(ToString::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("topology {} has no service '{text}': it has {known}", topology.name))
        }
        (Some(_), Some(_)) => {
            Err(format!("topology {} has several services '{text}': say NAMESPACE/{text}", topology.name))
        }
    }
}

/// Whether a Service has a port for this traffic. None passes echo requests on, and none leads to where nobody listens.
pub(crate) fn serves(service: &Service, traffic: Traffic) -> bool {
    if let Transport::RefusedUdp(_) = traffic.transport {
        return false;
    }
    let Some((protocol, number)) = traffic.transport.port() else { return false };
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .into_iter()
        .any(|port| port.port == i32::from(number) && port.protocol.as_deref().unwrap_or("TCP") == protocol)
}

/// Whether a pod answers this traffic: a container declares the port. Every pod answers echo requests, and datagrams to where nobody
/// listens.
pub(crate) fn listens(pod: &Pod, traffic: Traffic) -> bool {
    let Some((protocol, number)) = traffic.transport.port().filter(|_| traffic.transport.has_listener()) else {
        return true;
    };
    ports(pod)
        .any(|port| port.container_port == i32::from(number) && port.protocol.as_deref().unwrap_or("TCP") == protocol)
}

/// The pod of a topology that declares this port, if one does, whatever its protocol: an agent answers over UDP on its TCP ports too.
pub(crate) fn declares(topology: &Topology, number: u16) -> Option<&PodRef> {
    let declares = |pod: &Pod| ports(pod).any(|port| port.container_port == i32::from(number));
    topology.pods.iter().find(|(_, pod)| declares(pod)).map(|(name, _)| name)
}

fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.flat_map(|container| container.ports.iter().flatten())
}

/// Whether a pod has a container, or an init container, of this name.
pub(crate) fn has_container(topology: &Topology, pod: &PodRef, name: &str) -> bool {
    let spec = topology.pods.get(pod).and_then(|pod| pod.spec.as_ref());
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.into_iter().any(|container| container.name == name)
}

/// Whether any pod of a topology is in the network of its node.
pub(crate) fn uses_node_network(topology: &Topology) -> bool {
    topology.pods.values().any(|pod| pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)))
}

/// The pods whose addresses the manifest of `pod` names.
pub(crate) fn needs(topology: &Topology, pod: &Pod) -> BTreeSet<PodRef> {
    let mut found = BTreeSet::new();
    let value = serde_json::to_value(pod).unwrap_or_default();
    map_strings(&value, "", &mut |text, _| {
        // What is unknown was refused when the topology was loaded.
        let _ = replace(text, |inner| {
            found.extend(Placeholder::parse(inner, topology)?.pod().cloned());
            Ok(None)
        });
        text.into()
    });
    found
}

/// The pods that are there from the start, in waves: those of one wave may be created at the same time; their arguments name addresses of
/// earlier waves only.
pub fn waves(topology: &Topology) -> Vec<Vec<PodRef>> {
    let mut waves: Vec<Vec<PodRef>> = Vec::new();
    let mut placed = BTreeSet::new();
    loop {
        let first = topology.pods.iter().filter(|(name, _)| !topology.later.contains(*name));
        let ready = first.filter(|(name, _)| !placed.contains(*name));
        let ready = ready.filter(|(_, pod)| needs(topology, pod).is_subset(&placed));
        let wave: Vec<PodRef> = ready.map(|(name, _)| name.clone()).collect();
        if wave.is_empty() {
            return waves;
        }
        placed.extend(wave.iter().cloned());
        waves.push(wave);
    }
}

/// The pod as it is to be created: real namespace, placeholders in its arguments replaced.
///
/// # Errors
/// Placeholders whose pod has no address in `bindings`; a pod or namespace that is unknown.
pub fn bind_pod(topology: &Topology, pod: &PodRef, bindings: &Bindings) -> Result<Pod, Vec<Problem>> {
    let problem = |path: String, what: String| Problem {
        file: format!("{}.yaml", topology.name),
        line: None,
        column: None,
        path: Some(path),
        what,
        remedy: "create the pods in the order of their waves".to_owned(),
    };
    let template =
        topology.pods.get(pod).ok_or_else(|| vec![problem(pod.to_string(), format!("there is no pod {pod}"))])?;
    let namespace = bindings.namespaces.get(&pod.namespace);
    let namespace = namespace
        .ok_or_else(|| vec![problem(pod.to_string(), format!("namespace {} has no real name yet", pod.namespace))])?;
    let decode = |what: serde_json::Error| vec![problem(pod.to_string(), what.to_string())];
    let value = serde_json::to_value(template).map_err(decode)?;
    let value = bind(&value, &pod.to_string(), topology, bindings)
        .map_err(|wrong| wrong.into_iter().map(|(path, what)| problem(path, what)).collect::<Vec<_>>())?;
    let mut bound: Pod = serde_json::from_value(value).map_err(decode)?;
    bound.metadata.namespace = Some(namespace.clone());
    Ok(bound)
}
