//! Objects through kube-rs: their life, their versions, what is refused and how.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Error, ResourceExt};
use netpol_lab::api::resources::POD;
use netpol_lab::api::{DeleteOptions, Part};
use serde_json::{Value, json};

use crate::cluster::{self, Cluster, client};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn status<T: std::fmt::Debug>(result: Result<T, Error>) -> Box<Status> {
    match result.unwrap_err() {
        Error::Api(status) => status,
        other => panic!("not a Status: {other}"),
    }
}

fn policy(name: &str, spec: Value) -> NetworkPolicy {
    parse(json!({ "metadata": { "name": name }, "spec": spec }))
}

#[tokio::test]
async fn a_pod_from_creation_to_its_end() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let created = pods.create(&PostParams::default(), &parse(cluster::pod("a"))).await.unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Always"));
    assert_eq!(created.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    assert_eq!(status(pods.create(&PostParams::default(), &parse(cluster::pod("a"))).await).reason, "AlreadyExists");

    cluster
        .store
        .modify(POD, "default", "a", Part::Everything, |pod| {
            pod["spec"]["nodeName"] = "worker-1".into();
            Ok(())
        })
        .unwrap();
    let answer = pods.delete("a", &DeleteParams::default()).await.unwrap();
    let terminating = answer.left().expect("the pod, which takes its time");
    assert_eq!(terminating.metadata.deletion_grace_period_seconds, Some(30));
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());

    let uid = terminating.uid().unwrap();
    let wrong = cluster.store.delete(POD, "default", "a", &DeleteOptions::now("another")).unwrap_err();
    assert_eq!(wrong.code, 409);
    assert!(cluster.store.delete(POD, "default", "a", &DeleteOptions::now(&uid)).unwrap().gone);
    assert_eq!(status(pods.get("a").await).reason, "NotFound");
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let generated: ConfigMap = parse(json!({ "metadata": { "generateName": "run-" }, "data": { "k": "v" } }));
    let (one, two) =
        (maps.create(&PostParams::default(), &generated).await, maps.create(&PostParams::default(), &generated).await);
    let (one, two) = (one.unwrap().name_any(), two.unwrap().name_any());
    assert!(one.starts_with("run-") && one.len() == 9 && one != two, "{one} {two}");

    let bad = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("A_b".into()), ..Default::default() },
        ..Default::default()
    };
    let refused = status(maps.create(&PostParams::default(), &bad).await);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "nowhere");
    assert_eq!(status(elsewhere.create(&PostParams::default(), &generated).await).code, 404);
}

#[tokio::test]
async fn versions_and_generations() {
    let cluster = Cluster::start().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), "default");
    let first = policies
        .create(&PostParams::default(), &policy("p", json!({ "podSelector": {}, "egress": [] })))
        .await
        .unwrap();
    let spec = first.spec.as_ref().unwrap();
    assert_eq!(spec.policy_types.as_deref(), Some(&["Ingress".to_owned()][..]), "N7");
    assert!(spec.egress.is_none(), "empty lists are dropped");

    let mut labelled = first.clone();
    labelled.labels_mut().insert("a".into(), "b".into());
    let labelled = policies.replace("p", &PostParams::default(), &labelled).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(1), "labels are no spec");
    assert_ne!(labelled.resource_version(), first.resource_version());
    let same = policies.replace("p", &PostParams::default(), &labelled).await.unwrap();
    assert_eq!(same.resource_version(), labelled.resource_version(), "nothing changed");

    let stale = status(policies.replace("p", &PostParams::default(), &first).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));

    let rules = Patch::Merge(json!({ "spec": { "ingress": [{ "ports": [{ "port": 80 }] }] } }));
    let patched = policies.patch("p", &PatchParams::default(), &rules).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    let ports = patched.spec.unwrap().ingress.unwrap()[0].ports.clone().unwrap();
    assert_eq!(ports[0].protocol.as_deref(), Some("TCP"), "N37");
}

#[tokio::test]
async fn wrong_policies_are_refused_with_causes() {
    let cluster = Cluster::start().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), "default");
    let bad = policy(
        "p",
        json!({ "podSelector": {}, "policyTypes": ["Both"], "ingress": [
        { "ports": [{ "protocol": "ICMP" }, { "port": 0 }], "from": [{}, { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"] } }] },
    ] }),
    );
    let refused = match policies.create(&PostParams::default(), &bad).await.unwrap_err() {
        Error::Api(status) => status,
        other => panic!("{other}"),
    };
    assert_eq!(refused.code, 422);
    let causes: Vec<(String, String)> =
        refused.details.unwrap().causes.into_iter().map(|cause| (cause.reason, cause.field)).collect();
    for (reason, field) in [
        ("FieldValueNotSupported", "spec.ingress[0].ports[0].protocol"),
        ("FieldValueInvalid", "spec.ingress[0].ports[1].port"),
        ("FieldValueRequired", "spec.ingress[0].from[0]"),
        ("FieldValueInvalid", "spec.ingress[0].from[1].ipBlock.except[0]"),
        ("FieldValueNotSupported", "spec.policyTypes[0]"),
    ] {
        assert!(causes.contains(&(reason.into(), field.into())), "{reason} {field} in {causes:?}");
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_when_strict() {
    let cluster = Cluster::start().await;
    let body = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "p" },
        "spec": { "podSelector": {}, "ingress": [{ "form": [] }] },
    });
    let post = |validation: &str| {
        let uri = format!("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies?fieldValidation={validation}");
        let request = http_request(&uri, &body);
        let client = cluster.client.clone();
        async move { client.request::<Value>(request).await }
    };
    let refused = status(post("Strict").await);
    assert_eq!(refused.code, 400);
    assert!(refused.message.contains("unknown field \"spec.ingress[0].form\""), "{}", refused.message);
    let stored = post("Ignore").await.unwrap();
    assert_eq!(stored["spec"]["ingress"], json!([{}]), "the real server, too, drops what it does not know");
}

fn http_request(uri: &str, body: &Value) -> axum::http::Request<Vec<u8>> {
    let builder = axum::http::Request::post(uri).header("content-type", "application/json");
    builder.body(body.to_string().into_bytes()).unwrap()
}

#[tokio::test]
async fn patches_of_each_kind() {
    let cluster = Cluster::start().await;
    cluster.run_pod("a");
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let patch = |patch: Patch<Value>| {
        let pods = pods.clone();
        async move { pods.patch("a", &PatchParams::default(), &patch).await }
    };
    let json_patch = Patch::Json(parse(json!([{ "op": "add", "path": "/metadata/labels/json", "value": "1" }])));
    assert_eq!(patch(json_patch).await.unwrap().labels()["json"], "1");
    let failing = Patch::Json(parse(json!([{ "op": "test", "path": "/metadata/name", "value": "b" }])));
    assert_eq!(status(patch(failing).await).code, 422);

    let merge = patch(Patch::Merge(json!({ "metadata": { "labels": { "json": null } } }))).await.unwrap();
    assert!(!merge.labels().contains_key("json"));
    let image = json!({ "spec": { "containers": [{ "name": "main", "image": "netpol:2" }] } });
    let strategic = patch(Patch::Strategic(image)).await.unwrap();
    let container = &strategic.spec.unwrap().containers[0];
    assert_eq!((container.image.as_deref(), container.ports.as_ref().map(Vec::len)), (Some("netpol:2"), Some(1)));

    let frozen = status(patch(Patch::Merge(json!({ "spec": { "nodeName": "elsewhere" } }))).await);
    assert_eq!(frozen.code, 422, "a pod stays on its node");
    let ignored = patch(Patch::Merge(json!({ "status": { "phase": "Failed" } }))).await.unwrap();
    assert_eq!(ignored.status.unwrap().phase.as_deref(), Some("Running"), "status is a subresource");
    let through = Patch::Merge(json!({ "status": { "message": "hello" }, "metadata": { "labels": { "x": "y" } } }));
    let through = pods.patch_status("a", &PatchParams::default(), &through).await.unwrap();
    assert_eq!(through.status.as_ref().unwrap().message.as_deref(), Some("hello"));
    assert!(!through.labels().contains_key("x"));
}

#[tokio::test]
async fn apply_creates_changes_and_removes() {
    let cluster = Cluster::start().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), "default");
    let apply = |spec: Value| {
        let object = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "p" }, "spec": spec });
        let policies = policies.clone();
        async move { policies.patch("p", &PatchParams::apply("test"), &Patch::Apply(object)).await }
    };
    let both = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}] });
    let created = apply(both.clone()).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    let again = apply(both).await.unwrap();
    assert_eq!(again.resource_version(), created.resource_version(), "applied twice is applied once");
    let narrowed = apply(json!({ "podSelector": {}, "policyTypes": ["Ingress"] })).await.unwrap();
    let spec = narrowed.spec.unwrap();
    assert_eq!((spec.egress, spec.policy_types), (None, Some(vec!["Ingress".to_owned()])));
}

#[tokio::test]
async fn selectors_and_deletecollection() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    for name in ["a", "b", "c"] {
        pods.create(&PostParams::default(), &parse(cluster::pod(name))).await.unwrap();
    }
    let names = |list: kube::api::ObjectList<Pod>| list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let by = |labels: &str| ListParams::default().labels(labels);
    assert_eq!(names(pods.list(&by("app in (a, c)")).await.unwrap()), ["a", "c"]);
    assert_eq!(names(pods.list(&by("app!=a")).await.unwrap()), ["b", "c"]);
    let fields = ListParams::default().fields("metadata.name=b,status.phase=Pending");
    assert_eq!(names(pods.list(&fields).await.unwrap()), ["b"]);
    assert_eq!(status(pods.list(&by("app near a")).await).code, 400);

    let deleted = pods.delete_collection(&DeleteParams::default(), &by("app notin (b)")).await.unwrap();
    assert_eq!(names(deleted.left().unwrap()), ["a", "c"]);
    assert_eq!(names(pods.list(&ListParams::default()).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_namespace_goes_when_its_contents_have_gone() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let blue: Namespace =
        parse(json!({ "metadata": { "name": "blue", "labels": { "kubernetes.io/metadata.name": "red" } } }));
    let created = namespaces.create(&PostParams::default(), &blue).await.unwrap();
    assert_eq!(created.labels()["kubernetes.io/metadata.name"], "blue", "N27");
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "blue");
    pods.create(&PostParams::default(), &parse(cluster::pod("a"))).await.unwrap();
    cluster
        .store
        .modify(POD, "blue", "a", Part::Everything, |pod| {
            pod["spec"]["nodeName"] = "worker-1".into();
            Ok(())
        })
        .unwrap();

    let terminating = namespaces.delete("blue", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(terminating.status.unwrap().phase.as_deref(), Some("Terminating"));
    let refused = status(pods.create(&PostParams::default(), &parse(cluster::pod("b"))).await);
    assert_eq!(refused.code, 403, "{refused:?}");
    let pod = pods.get("a").await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_some());
    cluster.store.delete(POD, "blue", "a", &DeleteOptions::now(&pod.uid().unwrap())).unwrap();
    assert_eq!(status(namespaces.get("blue").await).code, 404);
}

#[tokio::test]
async fn a_client_certificate_is_as_good_as_the_token() {
    let cluster = Cluster::start().await;
    let client = client(&cluster.kubeconfig_by_certificate).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");

    let nobody = cluster.kubeconfig.replace("token: ", "token: x");
    let namespaces: Api<Namespace> = Api::all(crate::cluster::client(&nobody).await);
    assert_eq!(status(namespaces.list(&ListParams::default()).await).code, 401);
}

#[tokio::test]
async fn events_have_two_forms_and_one_store() {
    use k8s_openapi::api::core::v1::Event;
    use k8s_openapi::api::events::v1::Event as EventsEvent;
    let cluster = Cluster::start().await;
    let core: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let events: Api<EventsEvent> = Api::namespaced(cluster.client.clone(), "default");
    let event: EventsEvent = parse(json!({
        "metadata": { "name": "p.1" }, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Refused", "note": "a policy",
        "reason": "Refused", "type": "Warning", "reportingController": "netpol-enforcer", "reportingInstance": "worker-1",
        "regarding": { "kind": "NetworkPolicy", "name": "p", "namespace": "default" },
    }));
    let created = events.create(&PostParams::default(), &event).await.unwrap();
    assert_eq!(created.note.as_deref(), Some("a policy"));
    let same = core.get("p.1").await.unwrap();
    assert_eq!(same.uid(), created.uid());
    assert_eq!((same.message.as_deref(), same.involved_object.name.as_deref()), (Some("a policy"), Some("p")));
    let series = Patch::Merge(json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z" } }));
    let patched = events.patch("p.1", &PatchParams::default(), &series).await.unwrap();
    assert_eq!(patched.series.map(|series| series.count), Some(2));
    for list in [
        events.list(&ListParams::default().fields("regarding.name=p")).await.unwrap().items.len(),
        core.list(&ListParams::default().fields("involvedObject.name=p,reportingComponent=netpol-enforcer"))
            .await
            .unwrap()
            .items
            .len(),
    ] {
        assert_eq!(list, 1);
    }
    assert!(core.list(&ListParams::default().fields("involvedObject.name=q")).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn kinds_that_controllers_and_operators_need() {
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let lease = parse(json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "me" } }));
    leases.create(&PostParams::default(), &lease).await.unwrap();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let slice =
        json!({ "metadata": { "name": "s" }, "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"] }] });
    assert_eq!(slices.create(&PostParams::default(), &parse(slice)).await.unwrap().metadata.generation, Some(1));
    let more = Patch::Merge(json!({ "ports": [{ "port": 80 }] }));
    assert_eq!(slices.patch("s", &PatchParams::default(), &more).await.unwrap().metadata.generation, Some(2));
    let roles: Api<Role> = Api::namespaced(client.clone(), "default");
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    roles
        .create(&PostParams::default(), &parse(json!({ "metadata": { "name": "r" }, "rules": [rule] })))
        .await
        .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "default");
    let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" });
    let binding = parse(json!({ "metadata": { "name": "b" }, "roleRef": reference }));
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    assert_eq!(bindings.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn managers_of_fields_conflict() {
    let cluster = Cluster::start().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), "default");
    let apply = async |manager: PatchParams, app: &str| {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "p" },
            "spec": { "podSelector": { "matchLabels": { "app": app } } },
        });
        policies.patch("p", &manager, &Patch::Apply(object)).await
    };
    apply(PatchParams::apply("one"), "a").await.unwrap();
    let refused = status(apply(PatchParams::apply("two"), "b").await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let cause = &refused.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.podSelector"));
    assert!(cause.message.contains("\"one\""), "{}", cause.message);
    apply(PatchParams::apply("two").force(), "b").await.unwrap();

    let edit = Patch::Merge(json!({ "spec": { "podSelector": { "matchLabels": { "app": "c" } } } }));
    let editor = PatchParams { field_manager: Some("editor".into()), ..Default::default() };
    let managers = policies.patch("p", &editor, &edit).await.unwrap().metadata.managed_fields.unwrap();
    let editor = managers.iter().find(|entry| entry.manager.as_deref() == Some("editor")).unwrap();
    assert_eq!(editor.operation.as_deref(), Some("Update"));
    assert_eq!(serde_json::to_value(&editor.fields_v1).unwrap(), json!({ "f:spec": { "f:podSelector": {} } }));
    assert_eq!(status(apply(PatchParams::apply("two"), "b").await).code, 409, "it is the editor's");
    assert!(apply(PatchParams::apply("two"), "c").await.is_ok(), "the same value is shared");
}
