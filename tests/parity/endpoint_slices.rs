//! EndpointSlices follow readiness and deletion.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::cluster::{World, addresses, in_world};

impl World {
    /// The endpoints of a Service by address.
    async fn endpoints(&self, service: &str) -> BTreeMap<String, EndpointConditions> {
        let own = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = self.api::<EndpointSlice>().list(&own).await.unwrap();
        let all = slices.items.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
        all.flat_map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            endpoint.addresses.into_iter().map(move |address| (address, conditions.clone()))
        })
        .collect()
    }
}

#[tokio::test]
async fn an_endpoint_is_ready_with_its_pod_and_terminating_until_that_is_gone() {
    in_world(async |world| {
        let headless = json!({"clusterIP": "None"});
        world.service("slow", "slow", headless).await;
        let late = json!({"httpGet": {"port": 8080}, "periodSeconds": 1, "initialDelaySeconds": 2});
        let spec = json!({"containers": [{"readinessProbe": late}]});
        world.create::<Pod>(world.agent("slow", spec)).await;
        let running = world
            .until("slow", "has addresses", |pod: Option<&Pod>| {
                pod.and_then(|pod| pod.status.as_ref()?.pod_ips.as_ref()).is_some()
            })
            .await;
        let is = |ready: bool, serving: bool, terminating: bool| EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        };
        let all = |conditions: EndpointConditions| {
            addresses(&running).iter().map(|ip| (ip.to_string(), conditions.clone())).collect::<BTreeMap<_, _>>()
        };
        for (what, wanted) in [("unready", is(false, false, false)), ("ready", is(true, true, false))] {
            let same = async || (world.endpoints("slow").await == all(wanted.clone())).then_some(());
            world.eventually(&format!("the endpoints are {what}"), same).await;
        }
        world.api::<Pod>().delete("slow", &DeleteParams::default()).await.unwrap();
        world.eventually("no endpoint is left", async || world.endpoints("slow").await.is_empty().then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn a_slice_is_the_services_and_names_pod_and_node() {
    in_world(async |world| {
        let pod = world.ready(world.agent("server", json!({}))).await;
        let service = world.service("server", "server", json!({})).await;
        let own = ListParams::default().labels("kubernetes.io/service-name=server");
        let slices = world
            .eventually("a slice with an endpoint per family", async || {
                let slices = world.api::<EndpointSlice>().list(&own).await.unwrap().items;
                let families = slices.iter().filter(|slice| slice.endpoints.iter().flatten().next().is_some()).count();
                (families == addresses(&pod).len()).then_some(slices)
            })
            .await;
        for slice in &slices {
            let owner = &slice.metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("Service", service.metadata.uid.as_ref()));
            let port = &slice.ports.as_ref().unwrap()[0];
            assert_eq!(
                (port.name.as_deref(), port.port, port.protocol.as_deref()),
                (Some("main"), Some(8080), Some("TCP"))
            );
            let endpoint = &slice.endpoints.as_ref().unwrap()[0];
            assert_eq!(endpoint.node_name, pod.spec.as_ref().unwrap().node_name);
            let target = endpoint.target_ref.as_ref().unwrap();
            assert_eq!((target.kind.as_deref(), &target.uid), (Some("Pod"), &pod.metadata.uid));
        }
    })
    .await;
}
