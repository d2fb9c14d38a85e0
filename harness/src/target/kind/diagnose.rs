//! Evidence of a failure, gathered before anything is deleted: the nodes' logs, events, descriptions.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::cni_entry::Selected;
use super::engine::{Provider, kind_command};
use super::tool::{Tools, last_lines};

/// Lines of a log that are shown with the failure.
const SHOWN: usize = 8;

/// Gathers what can be had; what cannot is left out, because the failure itself matters more. Answers with the lines that belong
/// with the failure: warnings about the CNI's pods, the ends of their logs, and those of the kubelets of nodes that are not Ready,
/// where `kubelets` may be the reason: before the CNI is there no node is.
pub(super) async fn gather(
    tools: &Tools,
    provider: Provider,
    name: &str,
    client: Option<&Client>,
    selected: &[Selected],
    kubelets: bool,
    folder: &Path,
) -> String {
    let nodes = folder.join("nodes");
    if let Err(error) = fs::create_dir_all(&nodes) {
        eprintln!("netpol: no evidence is kept: {} cannot be made: {error}", folder.display());
        return String::new();
    }
    let arguments: [OsString; 5] = ["export".into(), "logs".into(), nodes.clone().into(), "--name".into(), name.into()];
    let (kind, arguments) = kind_command(provider, arguments.into());
    match tools.run(&kind, &arguments).await {
        // Creating failed before there was a node.
        Err(failed) if failed.said.contains("unknown cluster") => {}
        Err(failed) => eprintln!("netpol: the nodes' logs are not complete: {failed}: {}", failed.last_lines(1)),
        Ok(_) => {}
    }
    let mut unready = None;
    let mut excerpt = String::new();
    if let Some(client) = client {
        let listed = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
        if let Ok(listed) = listed {
            unready = Some(listed.iter().filter(|node| !is_ready(node)).map(ResourceExt::name_any).collect::<Vec<_>>());
            save(folder, "nodes.yaml", &listed.items);
        }
        excerpt.push_str(&cluster(client, selected, folder).await);
    }
    // Without an answer from the API server, every node may be the reason.
    for node in unready.unwrap_or_else(|| folders(&nodes)).iter().filter(|_| kubelets) {
        if let Ok(log) = fs::read_to_string(nodes.join(node).join("kubelet.log")) {
            excerpt.push_str(&format!("kubelet of {node}:\n{}\n", last_lines(&log, SHOWN)));
        }
    }
    // Only empty folders go: no evidence is better than an address of none.
    for folder in [&nodes, folder] {
        fs::remove_dir(folder).ok();
    }
    excerpt
}

/// Pods, events and the CNI's logs; warnings about the CNI's pods as an excerpt.
async fn cluster(client: &Client, selected: &[Selected], folder: &Path) -> String {
    if let Ok(pods) = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await {
        save(folder, "pods.yaml", &pods.items);
    }
    let mut events =
        Api::<Event>::all(client.clone()).list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
    events.sort_by_key(|event| (event.last_timestamp.clone(), event.metadata.creation_timestamp.clone()));
    let lines: Vec<_> = events.iter().map(|event| (event, line(event))).collect();
    let all: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    fs::write(folder.join("events.txt"), all).ok();
    let mut excerpt = String::new();
    for of in selected {
        let api = Api::<Pod>::namespaced(client.clone(), &of.namespace);
        let Ok(pods) = api.list(&ListParams::default().labels(&of.selector)).await else { continue };
        for pod in pods {
            let name = pod.name_any();
            let about = |event: &Event| event.involved_object.name.as_deref() == Some(name.as_str());
            let warnings = lines.iter().filter(|(event, _)| about(event) && event.type_.as_deref() == Some("Warning"));
            let warnings: Vec<_> = warnings.map(|(_, line)| line.as_str()).collect();
            if !warnings.is_empty() {
                excerpt.push_str(&format!("events of {name}:\n{}\n", last_lines(&warnings.join("\n"), SHOWN)));
            }
            excerpt.push_str(&logs(&api, &pod, folder).await);
        }
    }
    excerpt
}

/// Keeps the logs of a pod's containers; the last lines of those that are not ready, as an excerpt.
async fn logs(api: &Api<Pod>, pod: &Pod, folder: &Path) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let unready = unready_containers(pod);
    let mut excerpt = String::new();
    for container in spec.init_containers.into_iter().flatten().chain(spec.containers) {
        let name = container.name;
        // One that has only just been started again has said nothing yet.
        let mut last = String::new();
        for previous in [true, false] {
            let params = LogParams { container: Some(name.clone()), previous, ..LogParams::default() };
            if let Ok(log) = api.logs(&pod.name_any(), &params).await {
                let which = if previous { ".previous" } else { "" };
                fs::write(folder.join(format!("{}.{name}{which}.log", pod.name_any())), &log).ok();
                if !log.trim().is_empty() {
                    last = log;
                }
            }
        }
        if unready.contains(&name) && !last.is_empty() {
            excerpt.push_str(&format!("log of {name} in {}:\n{}\n", pod.name_any(), last_lines(&last, SHOWN)));
        }
    }
    excerpt
}

/// Containers of a pod that are neither ready nor, as an init container may, done.
fn unready_containers(pod: &Pod) -> Vec<String> {
    let status = pod.status.iter();
    let all = status.flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    });
    let done = |container: &ContainerStatus| {
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code == 0)
    };
    all.filter(|container| !container.ready && !done(container)).map(|container| container.name.clone()).collect()
}

fn line(event: &Event) -> String {
    let object = &event.involved_object;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (kind, name) = (text(&object.kind).to_lowercase(), text(&object.name));
    format!("{} {} {kind}/{name}: {}", text(&event.type_), text(&event.reason), text(&event.message).trim())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn save(folder: &Path, name: &str, objects: &impl Serialize) {
    if let Ok(text) = serde_yaml::to_string(objects) {
        fs::write(folder.join(name), text).ok();
    }
}

/// kind exports a folder per node.
fn folders(nodes: &Path) -> Vec<String> {
    let entries = fs::read_dir(nodes).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_that_are_not_ready_are_told_from_those_that_are_done() {
        let status = |name: &str, ready: bool, state: serde_json::Value| json!({"name": name, "image": "", "imageID": "", "restartCount": 0, "ready": ready, "state": state});
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "status": {
                "initContainerStatuses": [status("install", false, json!({"terminated": {"exitCode": 0}}))],
                "containerStatuses": [
                    status("enforcer", true, json!({"running": {}})),
                    status("cni", false, json!({"running": {}})),
                    status("once", false, json!({"terminated": {"exitCode": 1}})),
                ],
            },
        }))
        .unwrap();
        assert_eq!(unready_containers(&pod), ["cni", "once"]);
    }
}
