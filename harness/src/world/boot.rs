//! A world's first moments: namespaces, pods wave by wave, streams, canaries.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Capabilities, Container, EnvVar, Namespace, Pod, Service, Sysctl, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{Api, ResourceExt};
use netpol_wire::AGENT_NAME_VARIABLE;
use serde_json::to_value;

use super::numbering::Numbering;
use super::pods::until_running;
use super::relabelled::Relabelled;
use super::{World, WorldError};
use crate::cluster::{Cluster, ObjectError, ReadyNode};
use crate::plan::{Bindings, BoundPod, BoundService, OUTSIDE, PodRef, Topology};
use crate::probe::{Member, Session};
use crate::topology::{bind_pod, waves};

/// The image's name in topologies; the real one takes its place.
const IMAGE: &str = "netpol";
/// What each container asks for: little enough for dozens of them on the smallest node.
const PROCESSOR: &str = "10m";
/// The groups that may send pings without a capability.
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

impl World {
    /// Boots world `number` of a run.
    ///
    /// # Errors
    /// [`WorldError`]
    pub async fn boot(cluster: &Cluster, number: u32, topology: &Topology) -> Result<World, WorldError> {
        let nodes = place(topology, cluster)?;
        let mut bindings = Bindings::default();
        for namespace in &topology.namespaces {
            let logical = namespace.name_any();
            bindings.namespaces.insert(logical.clone(), create_namespace(cluster, number, &logical, namespace).await?);
        }
        for (name, service) in &topology.services {
            let real = bindings.namespaces.get(&name.namespace).cloned().unwrap_or_default();
            bindings.services.insert(name.clone(), create_service(cluster, &real, service).await?);
        }
        let numbering = Numbering::of(topology.pods.keys());
        let members = start_all(cluster, number, topology, &nodes, &mut bindings, &numbering).await?;
        let (cluster, topology) = (cluster.clone(), topology.clone());
        Ok(World {
            number,
            topology,
            bindings,
            members,
            controlled: false,
            altered: false,
            relabelled: Relabelled::default(),
            nodes,
            numbering,
            cluster,
        })
    }
}

/// The nodes inside the cluster that a topology's pods are on.
pub(super) fn nodes(topology: &Topology, cluster: &Cluster) -> Result<BTreeSet<String>, WorldError> {
    let inside = |node: &String| cluster.nodes.iter().any(|ready| ready.name == *node);
    Ok(place(topology, cluster)?.into_values().filter(inside).collect())
}

/// Every pod on a node: slots go round the nodes in order.
fn place(topology: &Topology, cluster: &Cluster) -> Result<BTreeMap<PodRef, String>, WorldError> {
    let nodes: &[ReadyNode] = &cluster.nodes;
    if nodes.is_empty() {
        return Err(WorldError::NoNodes);
    }
    let slots: BTreeSet<_> = topology.slots.values().filter(|slot| *slot != OUTSIDE).collect();
    let mut of_slot: BTreeMap<_, _> =
        slots.into_iter().enumerate().map(|(index, slot)| (slot.as_str(), &nodes[index % nodes.len()].name)).collect();
    of_slot.extend(cluster.outside.as_ref().map(|outside| (OUTSIDE, &outside.name)));
    let node =
        |pod| topology.slots.get(pod).and_then(|slot| of_slot.get(slot.as_str())).map_or(&nodes[0].name, |name| name);
    Ok(topology.pods.keys().map(|pod| (pod.clone(), node(pod).clone())).collect())
}

pub(super) async fn create_namespace(
    cluster: &Cluster,
    number: u32,
    logical: &str,
    template: &Namespace,
) -> Result<String, WorldError> {
    let real = format!("{logical}-{}-{number}", cluster.run);
    let mut namespace = template.clone();
    namespace.metadata.name = Some(real.clone());
    let labels = namespace.labels_mut();
    labels.insert("netpol.dev/run".into(), cluster.run.clone());
    labels.insert("netpol.dev/world".into(), number.to_string());
    labels.insert("netpol.dev/namespace".into(), logical.to_owned());
    cluster.objects.apply(&typed(&namespace)?).await?;
    Ok(real)
}

/// Creates a Service, and learns the addresses and node ports that it was given.
async fn create_service(cluster: &Cluster, namespace: &str, template: &Service) -> Result<BoundService, WorldError> {
    let mut service = template.clone();
    service.metadata.namespace = Some(namespace.to_owned());
    cluster.objects.apply(&typed(&service)?).await?;
    let given = cluster.objects.get("Service", &service.name_any(), Some(namespace)).await?;
    let given: Service =
        serde_json::from_value(given).map_err(|error| WorldError::Object(ObjectError::Malformed(error)))?;
    let spec = given.spec.unwrap_or_default();
    let ips = spec.cluster_ips.or(spec.cluster_ip.map(|ip| vec![ip])).unwrap_or_default();
    let node_ports = spec.ports.unwrap_or_default().into_iter().filter_map(|port| {
        let protocol = port.protocol.unwrap_or_else(|| "TCP".to_owned());
        Some(((protocol, u16::try_from(port.port).ok()?), u16::try_from(port.node_port?).ok()?))
    });
    Ok(BoundService { ips: ips.iter().filter_map(|ip| ip.parse().ok()).collect(), node_ports: node_ports.collect() })
}

async fn start_all(
    cluster: &Cluster,
    number: u32,
    topology: &Topology,
    nodes: &BTreeMap<PodRef, String>,
    bindings: &mut Bindings,
    numbering: &Numbering,
) -> Result<BTreeMap<PodRef, Member>, WorldError> {
    for wave in waves(topology) {
        let bound = start(cluster, number, topology, nodes, bindings, &wave).await?;
        bindings.pods.extend(bound);
    }
    open_sessions(cluster, bindings, &bindings.pods, numbering).await
}

/// Creates pods of a topology and waits until they run.
pub(super) async fn start(
    cluster: &Cluster,
    number: u32,
    topology: &Topology,
    nodes: &BTreeMap<PodRef, String>,
    bindings: &Bindings,
    pods: &[PodRef],
) -> Result<BTreeMap<PodRef, BoundPod>, WorldError> {
    let created = pods.iter().map(|pod| async move {
        let node = nodes.get(pod).cloned().unwrap_or_default();
        let manifest = bind_pod(topology, pod, bindings).map_err(WorldError::Placeholders)?;
        let namespace = manifest.namespace().unwrap_or_default();
        create_pod(cluster, number, manifest, &node, uses_sctp(topology)).await?;
        Ok::<_, WorldError>(((namespace, pod.name.clone()), (pod.clone(), node)))
    });
    let real: BTreeMap<_, _> = try_join_all(created).await?.into_iter().collect();
    let mut running = until_running(cluster, number, &real.keys().cloned().collect()).await?;
    let bind = |(name, (pod, node)): ((String, String), (PodRef, String))| {
        let ips = running.remove(&name).unwrap_or_default();
        let nodes = cluster.nodes.iter().chain(&cluster.outside);
        let node_ips = nodes.into_iter().find(|ready| ready.name == node).map(|ready| ready.ips.clone());
        (pod, BoundPod { ips, node, node_ips: node_ips.unwrap_or_default() })
    };
    Ok(real.into_iter().map(bind).collect())
}

/// Creates a pod on a node, with the run's labels and the real image.
///
/// With `raw`, SCTP probes need raw packets. The image may be one that only the nodes have, whatever its tag. Pings need no capability where the pod's sysctl lets every group
/// send them, which Pod Security's `baseline` allows; a pod in the node's network namespace may not set it.
pub(super) async fn create_pod(
    cluster: &Cluster,
    number: u32,
    mut pod: Pod,
    node: &str,
    raw: bool,
) -> Result<(), WorldError> {
    // Several agents may share a node's network, each under a name of its own.
    let agent = format!("{}-{}-{number}", pod.name_any(), cluster.run);
    let labels = pod.labels_mut();
    labels.insert("netpol.dev/run".into(), cluster.run.clone());
    labels.insert("netpol.dev/world".into(), number.to_string());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.to_owned());
        let in_node_network = spec.host_network == Some(true);
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            request_processor(container);
            if in_node_network {
                let name =
                    EnvVar { name: AGENT_NAME_VARIABLE.to_owned(), value: Some(agent.clone()), value_from: None };
                container.env.get_or_insert_default().push(name);
            }
            if raw {
                let context = container.security_context.get_or_insert_default();
                let capabilities: &mut Capabilities = context.capabilities.get_or_insert_default();
                capabilities.add.get_or_insert_default().push("NET_RAW".to_owned());
            }
            if container.image.as_deref() == Some(IMAGE) {
                container.image = Some(cluster.image.clone());
                container.image_pull_policy.get_or_insert_with(|| "IfNotPresent".to_owned());
            }
        }
        if in_node_network {
            // The node that nobody else may use, and whatever else keeps ordinary pods away.
            spec.tolerations
                .get_or_insert_default()
                .push(Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() });
        } else {
            let sysctls = spec.security_context.get_or_insert_default().sysctls.get_or_insert_default();
            if !sysctls.iter().any(|sysctl| sysctl.name == PING_GROUPS) {
                sysctls.push(Sysctl { name: PING_GROUPS.to_owned(), value: "0 2147483647".to_owned() });
            }
        }
        // Nothing in these pods asks the API server anything.
        spec.automount_service_account_token.get_or_insert(false);
    }
    Ok(cluster.objects.apply(&typed(&pod)?).await?)
}

/// Asks for a little of the processor. On a busy node pods that ask for nothing share what nobody else wants: their round trips, and so the
/// probes' timeouts, would tell of that.
fn request_processor(container: &mut Container) {
    let requests = container.resources.get_or_insert_default().requests.get_or_insert_default();
    requests.entry("cpu".to_owned()).or_insert_with(|| Quantity(PROCESSOR.to_owned()));
}

/// Whether any pod of a topology answers SCTP.
fn uses_sctp(topology: &Topology) -> bool {
    let specs = topology.pods.values().filter_map(|pod| pod.spec.as_ref());
    let ports = specs.flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    ports.into_iter().any(|port| port.protocol.as_deref() == Some("SCTP"))
}

/// A stream to every pod's agent.
pub(super) async fn open_sessions(
    cluster: &Cluster,
    bindings: &Bindings,
    pods: &BTreeMap<PodRef, BoundPod>,
    numbering: &Numbering,
) -> Result<BTreeMap<PodRef, Member>, WorldError> {
    let opened = pods.iter().map(|(pod, bound)| async move {
        let namespace = bindings.namespaces.get(&pod.namespace).cloned().unwrap_or_default();
        let api = Api::namespaced(cluster.client.clone(), &namespace);
        let session = Session::open(api, &namespace, &pod.name).await?;
        Ok::<_, WorldError>((pod.clone(), Member::new(session, bound.clone(), numbering.next(pod))))
    });
    Ok(try_join_all(opened).await?.into_iter().collect())
}

/// An object as the API wants it: k8s-openapi writes apiVersion and kind itself.
fn typed(object: &impl serde::Serialize) -> Result<serde_json::Value, WorldError> {
    to_value(object).map_err(|error| WorldError::Object(ObjectError::Malformed(error)))
}
