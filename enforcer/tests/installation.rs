//! The manifests under `fixtures/enforcer`: a server that validates fields strictly takes them, and their parts agree with
//! each other and with the programs.

#[path = "kernel/api_server.rs"]
mod api_server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;

use clap::{Args, Command, FromArgMatches};
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::{Api, Client, Config};
use netpol_enforcer::EnforcerArgs;
use netpol_enforcer::cni::CniArgs;
use netpol_lab::api::resources::{KINDS, NAMESPACE};
use netpol_lab::api::{Credentials, Store, kubeconfig};
use serde::Deserialize;
use serde_json::{Value, json};

use api_server::ApiServer;

/// What is applied together: each is complete.
const INSTALLATIONS: [(&str, &[&str]); 3] = [
    (
        "rbac.yaml, daemonset.yaml",
        &[include_str!("../../fixtures/enforcer/rbac.yaml"), include_str!("../../fixtures/enforcer/daemonset.yaml")],
    ),
    ("enforcer-only.yaml", &[include_str!("../../fixtures/enforcer/enforcer-only.yaml")]),
    ("cni-only.yaml", &[include_str!("../../fixtures/enforcer/cni-only.yaml")]),
];

fn objects(files: &[&str]) -> Vec<Value> {
    let documents = files.iter().flat_map(|file| serde_yaml::Deserializer::from_str(file));
    documents.map(|document| Value::deserialize(document).expect("a document of YAML")).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    of_kind(objects, kind).map(|object| object["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

fn daemon_set(objects: &[Value]) -> &Value {
    let mut found = of_kind(objects, "DaemonSet");
    let one = found.next().expect("a DaemonSet");
    assert!(found.next().is_none(), "one is enough");
    one
}

fn containers(daemon_set: &Value) -> &[Value] {
    daemon_set["spec"]["template"]["spec"]["containers"].as_array().expect("containers")
}

async fn apply(client: &Client, object: &Value) -> Result<DynamicObject, kube::Error> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let types = TypeMeta { api_version: text(&object["apiVersion"]), kind: text(&object["kind"]) };
    let kind = KINDS.iter().find(|kind| kind.api_version() == types.api_version && kind.kind == types.kind);
    let kind = kind.expect("a kind that the lab keeps");
    let gvk = GroupVersionKind::try_from(types).expect("a group, version and kind");
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut parameters = PatchParams::apply("test");
    parameters.field_validation = Some(kube::api::ValidationDirective::Strict);
    api.patch(&text(&object["metadata"]["name"]), &parameters, &Patch::Apply(object)).await
}

#[tokio::test]
async fn a_strict_server_takes_them() {
    for (name, files) in INSTALLATIONS {
        let store = Store::new();
        store.create(NAMESPACE, "", json!({ "metadata": { "name": "kube-system" } })).expect("a namespace");
        let credentials = Arc::new(Credentials::new(&[]).expect("credentials"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("its number"));
        let server = ApiServer::start(&store, listener, &credentials);
        let file = Kubeconfig::from_yaml(&kubeconfig(&credentials, &url, "test")).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
        let client = Client::try_from(config).expect("a client");
        for object in objects(files) {
            let applied = apply(&client, &object).await;
            applied.unwrap_or_else(|error| panic!("{name}: {} is refused: {error}", object["kind"]));
            let again = apply(&client, &object).await.expect("the same once more");
            assert!(again.metadata.uid.is_some());
        }
        let mut typo = daemon_set(&objects(files)).clone();
        typo["spec"]["template"]["spec"]["hostNetwrok"] = true.into();
        let refused = apply(&client, &typo).await.expect_err("an unknown field").to_string();
        assert!(refused.contains("hostNetwrok"), "{refused}");
        tokio::task::spawn_blocking(|| drop(server)).await.expect("it ends");
    }
}

#[test]
fn accounts_roles_and_bindings_belong_together() {
    for (name, files) in INSTALLATIONS {
        let objects = objects(files);
        let template = &daemon_set(&objects)["spec"]["template"];
        let account = template["spec"]["serviceAccountName"].as_str().expect("a service account");
        assert_eq!(names(&objects, "ServiceAccount"), BTreeSet::from([account.to_owned()]), "{name}");
        let mut bound = BTreeSet::new();
        for binding in of_kind(&objects, "ClusterRoleBinding") {
            let subjects = binding["subjects"].as_array().expect("subjects");
            let subject = json!({ "kind": "ServiceAccount", "name": account, "namespace": "kube-system" });
            assert_eq!(*subjects, [subject], "{name}");
            bound.insert(binding["roleRef"]["name"].as_str().expect("a role").to_owned());
        }
        assert_eq!(names(&objects, "ClusterRole"), bound, "{name}: every role is bound, every binding has its role");
        let needed: BTreeSet<String> = containers(daemon_set(&objects))
            .iter()
            .map(|container| format!("netpol-{}", container["name"].as_str().expect("a name")))
            .collect();
        assert_eq!(bound, needed, "{name}: a role for each container, and none more");
    }
}

/// A role or a container is the same wherever it occurs, so that what is shown of one file holds for the others.
#[test]
fn files_do_not_differ_where_they_need_not() {
    let mut seen: BTreeMap<(String, String), Value> = BTreeMap::new();
    for (name, files) in INSTALLATIONS {
        let objects = objects(files);
        let roles = of_kind(&objects, "ClusterRole").map(|role| (role["metadata"]["name"].clone(), role.clone()));
        let containers = containers(daemon_set(&objects)).iter().map(|container| {
            let mut container = container.clone();
            // `cni` is told when there is no enforcer.
            container["args"].as_array_mut().expect("arguments").retain(|word| word != "--without-enforcer");
            (container["name"].clone(), container)
        });
        for (kind, (key, value)) in roles.map(|role| ("role", role)).chain(containers.map(|one| ("container", one))) {
            let key = (kind.to_owned(), key.as_str().expect("a name").to_owned());
            let known = seen.entry(key.clone()).or_insert_with(|| value.clone());
            assert_eq!(*known, value, "{name}: {key:?}");
        }
    }
}

/// The arguments are ones that the programs take, and the probes ask where these then listen.
#[test]
fn containers_are_run_as_the_programs_want() {
    for (name, files) in INSTALLATIONS {
        let objects = objects(files);
        let daemon_set = daemon_set(&objects);
        let without_enforcer = !names(&objects, "DaemonSet").contains("netpol-enforcer");
        for container in containers(daemon_set) {
            let words =
                container["args"].as_array().expect("arguments").iter().map(|word| word.as_str().expect("text"));
            let node = container["env"][0].clone();
            assert_eq!(node["name"], "NODE_NAME", "{name}");
            assert_eq!(node["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName", "{name}");
            let command = match container["name"].as_str() {
                Some("enforcer") => EnforcerArgs::augment_args(Command::new("enforcer")),
                Some("cni") => CniArgs::augment_args(Command::new("cni")),
                other => panic!("{name}: {other:?} is no program of ours"),
            };
            // NODE_NAME is the default of --node.
            let matches = command.try_get_matches_from(words.chain(["--node", "a"])).expect("arguments that are taken");
            let port = if container["name"] == "cni" {
                let arguments = CniArgs::from_arg_matches(&matches).expect("arguments");
                assert_eq!(arguments.without_enforcer, without_enforcer, "{name}");
                assert_eq!(arguments.ready, "http://127.0.0.1:9808/readyz");
                let directory = arguments.config_dir.to_str().expect("text").to_owned();
                assert_eq!(container["volumeMounts"][0]["mountPath"], directory, "{name}");
                let volume = &daemon_set["spec"]["template"]["spec"]["volumes"][0];
                assert_eq!(volume["hostPath"]["path"], directory, "{name}");
                assert_eq!(volume["name"], container["volumeMounts"][0]["name"], "{name}");
                arguments.health_port
            } else {
                assert_eq!(container["volumeMounts"], Value::Null, "{name}: the enforcer has no business with files");
                EnforcerArgs::from_arg_matches(&matches).expect("arguments").health_port
            };
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                let get = json!({ "host": "127.0.0.1", "port": port, "path": path });
                assert_eq!(container[probe]["httpGet"], get, "{name}: {probe}");
            }
        }
    }
}

#[test]
fn pods_have_least_privilege_and_run_everywhere() {
    for (name, files) in INSTALLATIONS {
        let objects = objects(files);
        let daemon_set = daemon_set(&objects);
        let label = daemon_set["metadata"]["name"].clone();
        assert_eq!(daemon_set["spec"]["template"]["metadata"]["labels"]["app"], label, "{name}");
        assert_eq!(daemon_set["spec"]["updateStrategy"]["type"], "RollingUpdate", "{name}");
        let spec = &daemon_set["spec"]["template"]["spec"];
        assert_eq!(spec["hostNetwork"], true, "{name}");
        assert_eq!(spec["tolerations"], json!([{ "operator": "Exists" }]), "{name}: any taint");
        assert_eq!(spec["priorityClassName"], "system-node-critical", "{name}");
        for container in containers(daemon_set) {
            assert_eq!(
                (&container["image"], &container["imagePullPolicy"]),
                (&json!("netpol"), &json!("IfNotPresent"))
            );
            let context = &container["securityContext"];
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] }), "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["privileged"], Value::Null, "{name}");
            assert!(container["resources"]["requests"].is_object() && container["resources"]["limits"].is_object());
        }
    }
}
