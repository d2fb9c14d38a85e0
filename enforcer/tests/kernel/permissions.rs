//! What the programs ask of the API server is what their roles allow, and no more.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use k8s_openapi::api::rbac::v1::ClusterRole;
use netpol_enforcer::ApiServerArgs;
use netpol_enforcer::cni::{self, CniArgs};
use serde::Deserialize;

use crate::cluster::enforcer_arguments;
use crate::health::eventually;
use crate::scratch::in_scratch_namespace;

const RBAC: &str = include_str!("../../../fixtures/enforcer/rbac.yaml");

/// Verb, API group, resource.
type Permission = (String, String, String);

/// What a role of the manifests allows.
fn allowed(role: &str) -> BTreeSet<Permission> {
    let documents = serde_yaml::Deserializer::from_str(RBAC);
    let objects = documents.map(|document| serde_yaml::Value::deserialize(document).expect("a document of YAML"));
    let mut roles = objects.filter(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == role);
    let role: ClusterRole = serde_yaml::from_value(roles.next().expect("the role")).expect("a ClusterRole");
    let mut permissions = BTreeSet::new();
    for rule in role.rules.expect("rules") {
        assert_eq!(rule.resource_names, None);
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                permissions.extend(rule.verbs.iter().map(|verb| (verb.clone(), group.clone(), resource.clone())));
            }
        }
    }
    permissions
}

/// An API server with one object, a policy that has to be refused, that writes down what it is asked.
fn record(listener: TcpListener) -> Arc<Mutex<BTreeSet<Permission>>> {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let record = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let record = Arc::clone(&record);
            thread::spawn(move || answer(&stream.expect("a connection"), &record));
        }
    });
    asked
}

/// A policy with an operator that nobody knows.
const REFUSED: &str = r#"{"metadata":{"name":"refused","namespace":"default","uid":"1"},
    "spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]}}}"#;

fn answer(stream: &TcpStream, record: &Mutex<BTreeSet<Permission>>) {
    let mut reader = BufReader::new(stream);
    while let Some(Ok(request)) = reader.by_ref().lines().next() {
        let mut body = 0;
        loop {
            let header = reader.by_ref().lines().next().expect("headers").expect("text").to_ascii_lowercase();
            match header.strip_prefix("content-length: ") {
                _ if header.is_empty() => break,
                Some(length) => body = length.parse().expect("a length"),
                None => {}
            }
        }
        reader.read_exact(&mut vec![0; body]).expect("a body");
        let permission = permission(&request);
        let (verb, resource) = (permission.0.clone(), permission.2.clone());
        record.lock().expect("the record").insert(permission);
        let mut stream = stream;
        if verb == "watch" {
            // Nothing ever happens.
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expect("sent");
            continue;
        }
        if verb == "create" {
            write!(stream, "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n").expect("sent");
            continue;
        }
        let kind = match resource.as_str() {
            "namespaces" => "NamespaceList",
            "pods" => "PodList",
            "nodes" => "NodeList",
            _ => "NetworkPolicyList",
        };
        let version = if kind == "NetworkPolicyList" { "networking.k8s.io/v1" } else { "v1" };
        let items = if resource == "networkpolicies" { REFUSED } else { "" };
        let list = format!(
            r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#
        );
        let length = list.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{list}")
            .expect("sent");
    }
}

/// The permission that a request needs.
fn permission(request: &str) -> Permission {
    let mut words = request.split(' ');
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (group, resource) = match path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", "v1", resource] => ("", resource),
        ["", "apis", group, "v1", resource] => (group, resource),
        ["", "apis", group, "v1", "namespaces", _, resource] if method == "POST" => (group, resource),
        _ => panic!("{request}: not a request about all objects of a kind"),
    };
    let watches = query.split('&').any(|parameter| parameter == "watch=true");
    let verb = match method {
        "GET" if watches => "watch",
        "GET" => "list",
        "POST" if resource == "events" => "create",
        other => panic!("{other} {target}: nothing else is to be written"),
    };
    (verb.to_owned(), group.to_owned(), resource.to_owned())
}

/// Runs a program until it has asked for as much as the role allows; it never may ask for more.
fn asks_for_what_is_allowed(role: &str, run: impl FnOnce(ApiServerArgs)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("its number"));
    let asked = record(listener);
    let file = std::env::temp_dir().join(format!("netpol-{role}-{}.yaml", std::process::id()));
    let config = format!(
        "
kind: Config
apiVersion: v1
clusters: [{{name: recorder, cluster: {{server: {server:?}}}}}]
users: [{{name: nobody, user: {{}}}}]
contexts: [{{name: recorder, context: {{cluster: recorder, user: nobody}}}}]
current-context: recorder
"
    );
    fs::write(&file, config).expect("a kubeconfig");
    run(ApiServerArgs { kubeconfig: Some(file.clone()), apiserver: None });
    let allowed = allowed(role);
    eventually("everything that is allowed is asked for", || allowed.is_subset(&asked.lock().expect("the record")));
    fs::remove_file(&file).expect("read by now");
    assert_eq!(*asked.lock().expect("the record"), allowed);
}

#[test]
fn of_the_enforcer() {
    in_scratch_namespace("permissions::of_the_enforcer", || {
        crate::node::node();
        asks_for_what_is_allowed("netpol-enforcer", |server| {
            let arguments = enforcer_arguments(server.kubeconfig.expect("a kubeconfig"));
            thread::spawn(|| netpol_enforcer::run(arguments).expect("the enforcer"));
        });
    });
}

#[test]
fn of_the_routed_network() {
    in_scratch_namespace("permissions::of_the_routed_network", || {
        crate::node::node();
        asks_for_what_is_allowed("netpol-cni", |server| {
            let arguments = CniArgs {
                server,
                node: "a".to_owned(),
                config_dir: std::env::temp_dir().join("netpol-no-such-directory"),
                ready: String::new(),
                without_enforcer: true,
                mtu: None,
                health_port: 9809,
            };
            thread::spawn(|| cni::run(arguments).expect("netpol cni"));
        });
    });
}
