//! What the API server says and does, by kube-rs and by plain requests.

use std::collections::BTreeMap;

use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::Status;
use kube::{Api, Error, ResourceExt};
use serde_json::{Value, json};

use super::cluster::{WITHIN, World, in_world};

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies";
const MAPS: &str = "/api/v1/namespaces/{}/configmaps";

impl World {
    /// A request with a body, in this namespace.
    async fn send(&self, method: &str, path: &str, media: &str, body: &Value) -> Result<Value, Error> {
        let uri = path.replace("{}", &self.namespace);
        let request = Request::builder().method(method).uri(uri).header("content-type", media);
        self.client.request(request.body(body.to_string().into_bytes()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Error> {
        self.send("POST", path, "application/json", &body).await
    }

    /// Creates a ConfigMap with labels and a value.
    async fn map(&self, name: &str, labels: Value, value: &str) -> ConfigMap {
        self.create(json!({"metadata": {"name": name, "labels": labels}, "data": {"value": value}})).await
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Box<Status> {
    match result {
        Err(Error::Api(status)) => status,
        other => panic!("not refused: {other:?}"),
    }
}

fn policy(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec})
}

/// V1–V17: every cause with its field, in one answer.
#[tokio::test]
async fn a_wrong_policy_is_refused_with_status_reason_and_causes() {
    in_world(async |world| {
        let spec = json!({
            "podSelector": {},
            "policyTypes": ["Ingress", "Sideways"],
            "ingress": [{
                "from": [
                    {"ipBlock": {"cidr": "10.0.0.0/33"}},
                    {"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.1.0.0/24"]}},
                    {"ipBlock": {"cidr": "10.0.0.0/24"}, "podSelector": {}},
                    {},
                ],
                "ports": [{"port": 0}, {"port": 90, "endPort": 80}, {"endPort": 80}, {"protocol": "ICMP"}],
            }],
        });
        let status = refused(world.post(POLICIES, policy(spec)).await);
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{status:?}");
        assert!(status.message.starts_with("NetworkPolicy.networking.k8s.io \"p\" is invalid: "), "{}", status.message);
        let details = status.details.as_ref().unwrap();
        assert_eq!(
            (details.name.as_str(), details.group.as_str(), details.kind.as_str()),
            ("p", "networking.k8s.io", "NetworkPolicy")
        );
        let causes: BTreeMap<&str, &str> =
            details.causes.iter().map(|c| (c.field.as_str(), c.reason.as_str())).collect();
        for (field, reason) in [
            ("spec.policyTypes[1]", "FieldValueNotSupported"),
            ("spec.ingress[0].from[0].ipBlock.cidr", "FieldValueInvalid"),
            ("spec.ingress[0].from[1].ipBlock.except[0]", "FieldValueInvalid"),
            ("spec.ingress[0].from[2]", "FieldValueForbidden"),
            ("spec.ingress[0].from[3]", "FieldValueRequired"),
            ("spec.ingress[0].ports[0].port", "FieldValueInvalid"),
            ("spec.ingress[0].ports[1].endPort", "FieldValueInvalid"),
            ("spec.ingress[0].ports[2].endPort", "FieldValueInvalid"),
            ("spec.ingress[0].ports[3].protocol", "FieldValueNotSupported"),
        ] {
            assert_eq!(causes.get(field), Some(&reason), "{field}: {causes:?}");
        }
        assert!(world.api::<NetworkPolicy>().list(&ListParams::default()).await.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_policy_gets_its_defaults_and_loses_its_empty_lists() {
    in_world(async |world| {
        let spec = json!({"podSelector": {}, "ingress": [], "egress": [{"to": [], "ports": [{"port": 80}]}]});
        let made = world.post(POLICIES, policy(spec)).await.unwrap();
        let expected = json!({
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 80, "protocol": "TCP"}]}],
        });
        assert_eq!(made["spec"], expected);
        let metadata = &made["metadata"];
        assert_eq!(metadata["generation"], 1);
        for field in ["uid", "creationTimestamp", "resourceVersion"] {
            assert!(metadata[field].is_string(), "{field}: {metadata}");
        }
        let policies = world.api::<NetworkPolicy>();
        let labelled = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        let labelled = policies.patch("p", &PatchParams::default(), &labelled).await.unwrap();
        assert_eq!(labelled.metadata.generation, Some(1), "labels are no new generation");
        let changed = Patch::Merge(json!({"spec": {"egress": null}}));
        let changed = policies.patch("p", &PatchParams::default(), &changed).await.unwrap();
        assert_eq!(changed.metadata.generation, Some(2));
        assert_ne!(changed.resource_version(), labelled.resource_version());
        let again = Patch::Merge(json!({"spec": {"egress": null}}));
        let again = policies.patch("p", &PatchParams::default(), &again).await.unwrap();
        assert_eq!(again.resource_version(), changed.resource_version(), "what changes nothing makes no version");
    })
    .await;
}

#[tokio::test]
async fn names_are_generated_taken_and_checked() {
    in_world(async |world| {
        let maps = world.api::<ConfigMap>();
        let generated = async || {
            let map: ConfigMap = world.create(json!({"metadata": {"generateName": "made-"}})).await;
            map.name_any()
        };
        let (one, two) = (generated().await, generated().await);
        assert!(one.starts_with("made-") && one.len() == "made-".len() + 5 && one != two, "{one} {two}");
        let same: ConfigMap = serde_json::from_value(json!({"metadata": {"name": one}})).unwrap();
        let taken = refused(maps.create(&PostParams::default(), &same).await);
        assert_eq!((taken.code, taken.reason.as_str()), (409, "AlreadyExists"));
        let wrong = refused(world.post(MAPS, json!({"metadata": {"name": "Not_a_name"}})).await);
        assert_eq!((wrong.code, wrong.details.unwrap().causes[0].field.as_str()), (422, "metadata.name"));
        let missing = refused(maps.get("none").await);
        assert_eq!((missing.code, missing.reason.as_str()), (404, "NotFound"));
        assert_eq!(missing.message, "configmaps \"none\" not found");
        let elsewhere = Api::<ConfigMap>::namespaced(world.client.clone(), "no-such-namespace");
        let homeless: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        assert_eq!(refused(elsewhere.create(&PostParams::default(), &homeless).await).code, 404);
    })
    .await;
}

#[tokio::test]
async fn an_old_version_and_another_uid_are_conflicts() {
    in_world(async |world| {
        let maps = world.api::<ConfigMap>();
        let old = world.map("a", json!({}), "1").await;
        let mut new = old.clone();
        new.data = Some([("value".to_owned(), "2".to_owned())].into());
        maps.replace("a", &PostParams::default(), &new).await.unwrap();
        let late = refused(maps.replace("a", &PostParams::default(), &new).await);
        assert_eq!((late.code, late.reason.as_str()), (409, "Conflict"));
        assert!(late.message.contains("the object has been modified"), "{}", late.message);
        let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
        let wrong = world.send("DELETE", &format!("{MAPS}/a"), "application/json", &other).await;
        assert_eq!(refused(wrong).code, 409);
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        maps.delete("a", &dry).await.unwrap();
        maps.get("a").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn unknown_fields_are_refused_where_that_is_asked_for() {
    in_world(async |world| {
        let wrong = policy(json!({"podSelector": {}, "podSelektor": {}}));
        let strict = refused(world.post(&format!("{POLICIES}?fieldValidation=Strict"), wrong.clone()).await);
        assert_eq!((strict.code, strict.reason.as_str()), (400, "BadRequest"));
        assert!(
            strict.message.contains("strict decoding error: unknown field \"spec.podSelektor\""),
            "{}",
            strict.message
        );
        let made = world.post(&format!("{POLICIES}?fieldValidation=Ignore"), wrong).await.unwrap();
        assert!(made["spec"]["podSelektor"].is_null());
        let number = policy(json!({"podSelector": {}, "policyTypes": "Ingress"}));
        assert_eq!(refused(world.post(POLICIES, number).await).code, 400, "a wrong type is refused anyhow");
    })
    .await;
}

#[tokio::test]
async fn selectors_choose_for_lists_and_deletecollection() {
    in_world(async |world| {
        for (name, labels) in
            [("a", json!({"tier": "x"})), ("b", json!({"tier": "y"})), ("c", json!({"tier": "x", "old": ""}))]
        {
            world.map(name, labels, "1").await;
        }
        let maps = world.api::<ConfigMap>();
        let names = async |parameters: ListParams| -> Vec<String> {
            let items = maps.list(&parameters).await.unwrap().items;
            // Every namespace of a real cluster has another.
            items.iter().map(ResourceExt::name_any).filter(|name| name != "kube-root-ca.crt").collect()
        };
        let by = |labels: &str| ListParams::default().labels(labels);
        assert_eq!(names(by("tier=x")).await, ["a", "c"]);
        assert_eq!(names(by("tier in (x,y),!old")).await, ["a", "b"]);
        assert_eq!(names(by("tier,tier notin (x)")).await, ["b"]);
        assert_eq!(names(ListParams::default().fields("metadata.name=c")).await, ["c"]);
        assert_eq!(refused(maps.list(&by("tier near x")).await).code, 400);
        let page = maps.list(&by("tier").limit(2)).await.unwrap();
        assert_eq!(page.items.len(), 2);
        let rest = by("tier").limit(2).continue_token(&page.metadata.continue_.unwrap());
        assert_eq!(names(rest).await, ["c"]);
        maps.delete_collection(&DeleteParams::default(), &by("tier=x")).await.unwrap();
        assert_eq!(names(ListParams::default()).await, ["b"]);
    })
    .await;
}

#[tokio::test]
async fn patches_of_each_kind_change_what_they_say() {
    in_world(async |world| {
        world.map("a", json!({"x": "1"}), "1").await;
        let maps = world.api::<ConfigMap>();
        let data = |map: ConfigMap| serde_json::to_value(map.data.unwrap_or_default()).unwrap();
        let parameters = PatchParams::default();
        let merged = Patch::Merge(json!({"data": {"value": null, "other": "2"}}));
        assert_eq!(data(maps.patch("a", &parameters, &merged).await.unwrap()), json!({"other": "2"}));
        let steps = json!([
            {"op": "test", "path": "/data/other", "value": "2"}, {"op": "add", "path": "/data/more", "value": "3"},
        ]);
        let json_patch = format!("{MAPS}/a");
        let patched = world.send("PATCH", &json_patch, "application/json-patch+json", &steps).await.unwrap();
        assert_eq!(patched["data"], json!({"other": "2", "more": "3"}));
        let failing = json!([{"op": "test", "path": "/data/other", "value": "9"}]);
        let failed = refused(world.send("PATCH", &json_patch, "application/json-patch+json", &failing).await);
        assert_eq!(failed.code, 422);

        let mut pod = world.agent("pod", json!({}));
        pod["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
        world.create::<Pod>(pod).await;
        let image = json!({"spec": {"containers": [{"name": "agent", "image": "registry.invalid/other:1"}]}});
        let patched = world.api::<Pod>().patch("pod", &parameters, &Patch::Strategic(image)).await.unwrap();
        let containers = patched.spec.unwrap().containers;
        assert_eq!(containers.len(), 1, "containers are merged by name");
        assert!(containers[0].args.is_some() && containers[0].image.as_deref() == Some("registry.invalid/other:1"));
    })
    .await;
}

#[tokio::test]
async fn apply_manages_fields_and_conflicts_are_said() {
    in_world(async |world| {
        let maps = world.api::<ConfigMap>();
        let wanted = |data: Value| {
            Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}))
        };
        let by = |manager: &str| PatchParams::apply(manager);
        maps.patch("a", &by("one"), &wanted(json!({"x": "1", "y": "1"}))).await.unwrap();
        let conflict = refused(maps.patch("a", &by("two"), &wanted(json!({"x": "2"}))).await);
        assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
        let cause = &conflict.details.as_ref().unwrap().causes[0];
        assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".data.x"));
        let forced = maps.patch("a", &by("two").force(), &wanted(json!({"x": "2"}))).await.unwrap();
        assert_eq!(forced.data.as_ref().unwrap()["x"], "2");
        // What the first manager alone has and no longer names goes.
        let less = maps.patch("a", &by("one"), &wanted(json!({"z": "3"}))).await.unwrap();
        assert_eq!(serde_json::to_value(&less.data).unwrap(), json!({"x": "2", "z": "3"}));
        let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..by("one") };
        let again = maps.patch("a", &strict, &wanted(json!({"z": "3"}))).await.unwrap();
        assert_eq!(again.metadata.resource_version, less.metadata.resource_version);
    })
    .await;
}

/// The first events of a watch in this namespace, until `enough`.
async fn watched(world: &World, query: &str, enough: impl Fn(&Value) -> bool) -> Vec<Value> {
    let uri = format!("{MAPS}?watch=true&{query}").replace("{}", &world.namespace);
    let mut lines = world.client.request_stream(Request::get(uri).body(vec![]).unwrap()).await.unwrap().lines();
    let mut events = Vec::new();
    let reading = async {
        while let Some(line) = lines.try_next().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            events.push(event.clone());
            if enough(&event) {
                break;
            }
        }
    };
    tokio::time::timeout(WITHIN, reading).await.unwrap_or_else(|_| panic!("too few events of {query}"));
    events
}

#[tokio::test]
async fn a_watch_goes_on_from_a_version_and_ends_in_time() {
    in_world(async |world| {
        let first = world.map("a", json!({"tier": "x"}), "1").await;
        let relabelled = Patch::Merge(json!({"metadata": {"labels": {"tier": "y"}}}));
        let maps = world.api::<ConfigMap>();
        maps.patch("a", &PatchParams::default(), &relabelled).await.unwrap();
        maps.delete("a", &DeleteParams::default()).await.unwrap();
        let version = first.resource_version().unwrap();
        let kinds =
            |events: &[Value]| events.iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let over = |event: &Value| event["type"] == "DELETED";
        let all = watched(&world, &format!("resourceVersion={version}"), over).await;
        assert_eq!(kinds(&all), ["MODIFIED", "DELETED"]);
        let selected = watched(&world, &format!("resourceVersion={version}&labelSelector=tier%3Dx"), over).await;
        assert_eq!(kinds(&selected), ["DELETED"], "it left the selection");
        let begun = std::time::Instant::now();
        watched(&world, "timeoutSeconds=1", |_| false).await;
        assert!(begun.elapsed().as_secs() < 20, "timeoutSeconds ends it");
    })
    .await;
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    in_world(async |world| {
        world.map("a", json!({}), "1").await;
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let events = watched(&world, query, |event| event["type"] == "BOOKMARK").await;
        let (last, before) = events.split_last().unwrap();
        assert!(before.iter().all(|event| event["type"] == "ADDED"), "{events:?}");
        assert!(before.iter().any(|event| event["object"]["metadata"]["name"] == "a"));
        assert_eq!(last["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        let wrong = format!("{MAPS}?watch=true&sendInitialEvents=true").replace("{}", &world.namespace);
        let request = Request::get(wrong).body(vec![]).unwrap();
        assert_eq!(refused(world.client.request::<Value>(request).await).code, 422);
    })
    .await;
}

#[tokio::test]
async fn a_version_of_the_future_is_not_waited_for_for_ever() {
    in_world(async |world| {
        let uri = format!("{MAPS}?resourceVersion=999999999999&resourceVersionMatch=NotOlderThan");
        let request = Request::get(uri.replace("{}", &world.namespace)).body(vec![]).unwrap();
        let status = refused(world.client.request::<Value>(request).await);
        assert_eq!((status.code, status.reason.as_str()), (504, "Timeout"));
    })
    .await;
}

#[tokio::test]
async fn a_namespace_takes_its_contents_along() {
    in_world(async |world| {
        let namespaces = Api::<Namespace>::all(world.client.clone());
        let name = format!("{}-inner", world.namespace);
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let made: Namespace = namespaces.create(&PostParams::default(), &object).await.unwrap();
        assert_eq!(made.labels()["kubernetes.io/metadata.name"], name, "N27");
        let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &name);
        let map =
            serde_json::from_value(json!({"metadata": {"name": "a", "finalizers": ["example.org/wait"]}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
        namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
        let waits = async || maps.get("a").await.unwrap().metadata.deletion_timestamp.map(drop);
        world.eventually("its contents are deleted", waits).await;
        let late: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "b"}})).unwrap();
        assert_eq!(refused(maps.create(&PostParams::default(), &late).await).code, 403);
        let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        maps.patch("a", &PatchParams::default(), &released).await.unwrap();
        let gone = async || namespaces.get_opt(&name).await.unwrap().is_none().then_some(());
        world.eventually("it is gone", gone).await;
    })
    .await;
}
