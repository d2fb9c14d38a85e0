//! Discovery: `/version`, `/api`, `/apis` and below, in the older form and in the aggregated one (v2).

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};

use super::media::{self, Form};
use super::resources::{Kind, POD, SERVICE_ACCOUNT, served};
use super::routes::json;
use super::status::Status;

/// The Kubernetes version whose API this server follows.
const MINOR: &str = "36";

/// A kind that is only asked with, and never stored.
struct Review {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
}

const REVIEWS: [Review; 2] = [
    Review {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
    },
];

/// Answers a path of discovery, given as its segments; `None` if there is no such group.
pub(crate) fn answer(segments: &[&str], headers: &HeaderMap) -> Option<Result<Response, Status>> {
    let aggregated = match media::accepted(headers) {
        Ok(form) => form == Form::Discovery,
        Err(status) => return Some(Err(status)),
    };
    let document = match segments {
        ["version"] => version(),
        ["api"] if aggregated => return Some(Ok(group_discovery(&[""]))),
        ["apis"] if aggregated => return Some(Ok(group_discovery(&groups()))),
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ["apis"] => {
            let list: Vec<Value> = groups().into_iter().map(group).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": list })
        }
        ["api", "v1"] => resource_list("", "v1"),
        ["apis", name] if groups().contains(name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, "v1"] if groups().contains(name) => resource_list(name, "v1"),
        _ => return None,
    };
    Some(Ok(json(&document)))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0-netpol-lab"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// All groups but the core one, each of which has the version v1 only.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = served().map(|kind| kind.group).filter(|group| !group.is_empty()).collect();
    groups.extend(REVIEWS.iter().map(|review| review.group));
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn verbs(kind: &'static Kind) -> Vec<&'static str> {
    let mut verbs = vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    // A namespace takes its contents along; nobody deletes them all by one request.
    if kind.kind == "Namespace" {
        verbs.retain(|verb| *verb != "deletecollection");
    }
    verbs
}

/// A subresource.
struct Subresource {
    name: &'static str,
    /// What is exchanged, and its group if that is another than the resource's.
    kind: &'static str,
    group: Option<&'static str>,
    verbs: &'static [&'static str],
}

fn subresources(kind: &'static Kind) -> Vec<Subresource> {
    let own = |name, kind, verbs| Subresource { name, kind, group: None, verbs };
    let mut list = Vec::new();
    if kind.has_status {
        list.push(own("status", kind.kind, &["get", "patch", "update"][..]));
    }
    if *kind == *POD {
        list.push(own("binding", "Binding", &["create"]));
        list.push(Subresource { group: Some("policy"), ..own("eviction", "Eviction", &["create"]) });
        list.push(own("exec", "PodExecOptions", &["create", "get"]));
        list.push(own("log", "Pod", &["get"]));
    }
    if *kind == *SERVICE_ACCOUNT {
        list.push(Subresource { group: Some("authentication.k8s.io"), ..own("token", "TokenRequest", &["create"]) });
    }
    list
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in served().filter(|kind| kind.group == group) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        resources.push(resource);
        for sub in subresources(kind) {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some(group) = sub.group {
                resource["group"] = group.into();
                resource["version"] = "v1".into();
            }
            resources.push(resource);
        }
    }
    for review in REVIEWS.iter().filter(|review| review.group == group) {
        resources.push(json!({
            "name": review.plural, "singularName": review.singular, "namespaced": false,
            "kind": review.kind, "verbs": ["create"],
        }));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources })
}

fn group_discovery(groups: &[&str]) -> Response {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let version = json!({ "version": "v1", "freshness": "Current", "resources": discovered(group) });
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            json!({ "metadata": metadata, "versions": [version] })
        })
        .collect();
    let mut response = json(&json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    }));
    let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn discovered(group: &str) -> Vec<Value> {
    let scope = |namespaced: bool| if namespaced { "Namespaced" } else { "Cluster" };
    let response_kind = |group: Option<&str>, kind: &str| {
        let version = if group.is_some() { "v1" } else { "" };
        json!({ "group": group.unwrap_or_default(), "version": version, "kind": kind })
    };
    let mut resources: Vec<Value> = served()
        .filter(|kind| kind.group == group)
        .map(|kind| {
            let mut resource = json!({
                "resource": kind.plural, "singularResource": kind.singular, "scope": scope(kind.namespaced),
                "responseKind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
                "verbs": verbs(kind), "shortNames": kind.short_names, "categories": kind.categories,
            });
            let subresources: Vec<Value> = subresources(kind)
                .into_iter()
                .map(|sub| {
                    let response = response_kind(sub.group, sub.kind);
                    json!({ "subresource": sub.name, "responseKind": response, "verbs": sub.verbs })
                })
                .collect();
            if !subresources.is_empty() {
                resource["subresources"] = subresources.into();
            }
            resource
        })
        .collect();
    for review in REVIEWS.iter().filter(|review| review.group == group) {
        resources.push(json!({
            "resource": review.plural, "singularResource": review.singular, "scope": scope(false),
            "responseKind": response_kind(None, review.kind), "verbs": ["create"],
        }));
    }
    resources
}
