//! ClusterIP Services: families, ports, several backends, hairpin, readiness.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use netpol_wire::{Got, Proto};
use serde_json::{Value, json};

use super::cluster::{World, addresses, in_world};

impl World {
    /// A Service in front of the pods with the label `app`, in every family of the cluster.
    pub(crate) async fn service(&self, name: &str, app: &str, spec: Value) -> Service {
        let mut all = json!({
            "selector": {"app": app},
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"name": "main", "port": 80, "targetPort": 8080}],
        });
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        self.create(json!({"metadata": {"name": name}, "spec": all})).await
    }
}

/// The Service's addresses.
pub(crate) fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref().unwrap();
    spec.cluster_ips.iter().flatten().map(|ip| ip.parse().unwrap()).collect()
}

/// A pod's address in the family of another address.
pub(crate) fn of_family(pod: &Pod, like: IpAddr) -> Option<IpAddr> {
    addresses(pod).into_iter().find(|own| own.is_ipv4() == like.is_ipv4())
}

#[tokio::test]
async fn a_service_has_an_address_in_every_family_and_defaults() {
    in_world(async |world| {
        let pod = world.ready(world.agent("server", json!({}))).await;
        let service = world.service("server", "server", json!({})).await;
        let families: Vec<bool> = cluster_ips(&service).iter().map(IpAddr::is_ipv4).collect();
        assert_eq!(families, addresses(&pod).iter().map(IpAddr::is_ipv4).collect::<Vec<_>>());
        let spec = service.spec.unwrap();
        assert_eq!(spec.cluster_ip.as_ref(), spec.cluster_ips.as_ref().and_then(|ips| ips.first()));
        assert_eq!((spec.type_.as_deref(), spec.session_affinity.as_deref()), (Some("ClusterIP"), Some("None")));
        assert_eq!(spec.internal_traffic_policy.as_deref(), Some("Cluster"));
        let single = world.service("single", "server", json!({"ipFamilyPolicy": null})).await;
        assert_eq!(single.spec.unwrap().ip_family_policy.as_deref(), Some("SingleStack"));
    })
    .await;
}

#[tokio::test]
async fn every_node_reaches_the_pod_behind_a_service_by_tcp_and_udp_and_its_source_is_seen() {
    in_world(async |world| {
        let nodes: Vec<String> = world.nodes().await.into_keys().collect();
        world.ready(world.agent("server", json!({"nodeName": nodes[0]}))).await;
        let ports = json!([
            {"name": "tcp", "port": 80, "targetPort": 8080},
            {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
        ]);
        let service = world.service("server", "server", json!({"ports": ports})).await;
        for (number, node) in nodes.iter().take(2).enumerate() {
            let name = format!("client-{number}");
            let client = world.ready(world.agent(&name, json!({"nodeName": node}))).await;
            for ip in cluster_ips(&service) {
                for proto in [Proto::Tcp, Proto::Udp] {
                    let seen = world.reaches(&name, proto, ip, 80).await;
                    assert_eq!(seen, of_family(&client, ip), "{name} to {ip} by {proto:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_named_target_port_is_another_number_on_each_pod_and_every_backend_answers() {
    in_world(async |world| {
        world.ready(world.agent("client", json!({}))).await;
        for (name, port) in [("one", 8081), ("two", 8082)] {
            let container = json!([{
                "args": ["agent", "server", "--port", port.to_string()],
                "ports": [{"name": "probe", "containerPort": port}],
            }]);
            let mut pod = world.agent(name, json!({"containers": container}));
            pod["metadata"]["labels"]["app"] = "both".into();
            world.ready(pod).await;
        }
        let ports = json!([{"port": 80, "targetPort": "probe"}]);
        let service = world.service("both", "both", json!({"ports": ports})).await;
        for ip in cluster_ips(&service) {
            world.reaches("client", Proto::Tcp, ip, 80).await;
            // Held until the endpoints of both are known, so that what is left can be told by who is deleted.
            let all = world.probes("client", Proto::Tcp, ip, 80, 40).await;
            assert!(all.iter().all(|result| result.got == Got::Reply), "{all:?}");
        }
        // Each of them answers alone as well.
        for gone in ["one", "two"] {
            let relabel = json!({"metadata": {"labels": {"app": "neither"}}});
            let patch = PatchParams::default();
            world.api::<Pod>().patch(gone, &patch, &Patch::Merge(relabel)).await.unwrap();
            for ip in cluster_ips(&service) {
                let what = format!("only the other answers at {ip} without {gone}");
                world
                    .eventually(&what, async || {
                        let all = world.probes("client", Proto::Tcp, ip, 80, 20).await;
                        all.iter().all(|result| result.got == Got::Reply).then_some(())
                    })
                    .await;
            }
            let relabel = json!({"metadata": {"labels": {"app": "both"}}});
            world.api::<Pod>().patch(gone, &patch, &Patch::Merge(relabel)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn several_backends_share_the_connections() {
    in_world(async |world| {
        let mut pods = Vec::new();
        for name in ["one", "two", "three"] {
            let mut pod = world.agent(name, json!({}));
            pod["metadata"]["labels"]["app"] = "many".into();
            pods.push(world.ready(pod).await);
        }
        let service = world.service("many", "many", json!({})).await;
        // A backend that probes its own Service is seen as itself by the others, and never by itself.
        for ip in cluster_ips(&service) {
            let own = of_family(&pods[0], ip);
            let what = "one backend reaches others and itself";
            let seen = world.eventually(what, async || {
                let results = world.probes("one", Proto::Tcp, ip, 80, 60).await;
                let good = results.iter().all(|result| result.got == Got::Reply);
                let seen: BTreeSet<Option<IpAddr>> = results.iter().map(|result| result.src_seen).collect();
                (good && seen.len() >= 2).then_some(seen)
            });
            assert!(seen.await.contains(&own), "the others see the pod's own address");
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_reaches_itself_through_its_service_and_sees_another_source() {
    in_world(async |world| {
        let pod = world.ready(world.agent("alone", json!({}))).await;
        let service = world.service("alone", "alone", json!({})).await;
        for ip in cluster_ips(&service) {
            let seen = world.reaches("alone", Proto::Tcp, ip, 80).await;
            assert_ne!(seen, of_family(&pod, ip), "hairpin traffic has the node's address");
            assert!(seen.is_some());
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_without_ready_endpoints_refuses_and_then_answers() {
    in_world(async |world| {
        world.ready(world.agent("client", json!({}))).await;
        let service = world.service("server", "server", json!({})).await;
        for ip in cluster_ips(&service) {
            let what = "refused at once";
            world
                .eventually(what, async || {
                    let result = world.probe("client", Proto::Tcp, ip, 80).await;
                    matches!(result.got, Got::Icmp | Got::Rst).then_some(())
                })
                .await;
        }
        world.ready(world.agent("server", json!({}))).await;
        for ip in cluster_ips(&service) {
            world.reaches("client", Proto::Tcp, ip, 80).await;
        }
        world.api::<Pod>().delete("server", &DeleteParams::default()).await.unwrap();
        for ip in cluster_ips(&service) {
            let what = "refused again";
            world
                .eventually(what, async || {
                    let result = world.probe("client", Proto::Tcp, ip, 80).await;
                    matches!(result.got, Got::Icmp | Got::Rst).then_some(())
                })
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_api_server_has_a_service() {
    in_world(async |world| {
        let service =
            kube::Api::<Service>::namespaced(world.client.clone(), "default").get("kubernetes").await.unwrap();
        world.ready(world.agent("client", json!({}))).await;
        for ip in cluster_ips(&service) {
            // It speaks TLS, so a probe's line is answered by an alert or an end: anything but silence.
            let result = world.probe("client", Proto::Tcp, ip, 443).await;
            assert!(!matches!(result.got, Got::Timeout | Got::NoRoute | Got::Icmp), "{result:?}");
        }
    })
    .await;
}

/// Of two backends one answers and the other refuses, so that who was chosen shows.
async fn one_answers_and_one_refuses(world: &World) {
    for (name, declared) in [("answers", 8080), ("refuses", 9)] {
        let container = json!([{"ports": [{"name": "probe", "containerPort": declared}]}]);
        let mut pod = world.agent(name, json!({"containers": container}));
        pod["metadata"]["labels"]["app"] = "both".into();
        world.ready(pod).await;
    }
}

#[tokio::test]
async fn with_session_affinity_a_client_keeps_its_backend() {
    in_world(async |world| {
        one_answers_and_one_refuses(&world).await;
        for client in ["one", "two", "three"] {
            world.ready(world.agent(client, json!({}))).await;
        }
        let affinity = json!({
            "ports": [{"port": 80, "targetPort": "probe"}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
        });
        let service = world.service("both", "both", affinity).await;
        for ip in cluster_ips(&service) {
            for client in ["one", "two", "three"] {
                // From the first answer on: before, the Service may have been new to the node.
                let what = format!("{client} is answered at {ip}");
                let first = world.eventually(&what, async || {
                    let got = world.probe(client, Proto::Tcp, ip, 80).await.got;
                    matches!(got, Got::Reply | Got::Rst).then_some(got)
                });
                let first = first.await;
                let all = world.probes(client, Proto::Tcp, ip, 80, 30).await;
                assert!(all.iter().all(|result| result.got == first), "{client} at {ip} first {first:?}: {all:?}");
            }
        }
        // Without it everybody meets both.
        let none = json!({"spec": {"sessionAffinity": "None", "sessionAffinityConfig": null}});
        let patched = world.api::<Service>().patch("both", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
        assert_eq!(patched.spec.unwrap().session_affinity_config, None);
        for ip in cluster_ips(&service) {
            world
                .eventually("one client meets both backends", async || {
                    let all = world.probes("one", Proto::Tcp, ip, 80, 30).await;
                    let seen = |wanted: Got| all.iter().any(|result| result.got == wanted);
                    (seen(Got::Reply) && seen(Got::Rst)).then_some(())
                })
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams_from_one_port_go_on_to_the_next_backend_when_theirs_has_gone() {
    in_world(async |world| {
        world.ready(world.agent("client", json!({}))).await;
        world.ready(world.agent("first", json!({}))).await;
        let mut second = world.agent("second", json!({}));
        second["metadata"]["labels"]["app"] = "first".into();
        let ports = json!([{"port": 80, "targetPort": 8080, "protocol": "UDP"}]);
        let service = world.service("first", "first", json!({"ports": ports})).await;
        for (number, ip) in (0..).zip(cluster_ips(&service)) {
            let answered = async || {
                let result = world.probe_again("client", Proto::Udp, ip, 80, number).await;
                (result.got == Got::Reply).then_some(())
            };
            world.eventually(&format!("{ip} answers"), answered).await;
        }
        world.ready(second).await;
        world.api::<Pod>().delete("first", &DeleteParams::default()).await.unwrap();
        let gone = async || world.api::<Pod>().get_opt("first").await.unwrap().is_none().then_some(());
        world.eventually("the first backend is gone", gone).await;
        for (number, ip) in (0..).zip(cluster_ips(&service)) {
            let answered = async || {
                let result = world.probe_again("client", Proto::Udp, ip, 80, number).await;
                (result.got == Got::Reply).then_some(())
            };
            world.eventually(&format!("{ip} answers the same port again"), answered).await;
        }
    })
    .await;
}
