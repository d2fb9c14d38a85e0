//! Hollow pods, as clients see them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use netpol_lab::hollow::{Hollow, LABEL, PODS_OF_A_NODE};
use tokio::time::timeout;

use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn they_look_running_and_change_at_their_rate() {
    let cluster = Cluster::start().await;
    let hollow = Hollow { pods: 600, churn: 400 };
    hollow.create(&cluster.store).unwrap();
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let list = pods.list(&ListParams::default().labels(LABEL).fields("status.phase=Running")).await.unwrap();
    assert_eq!(list.items.len(), 600);
    let address = |pod: &Pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert_eq!(list.items.iter().map(address).collect::<BTreeSet<_>>().len(), 600);
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default().labels(LABEL)).await.unwrap().items;
    assert_eq!(nodes.len(), usize::try_from(600_u32.div_ceil(PODS_OF_A_NODE)).unwrap());
    assert!(nodes.iter().all(|node| node.spec.as_ref().unwrap().unschedulable == Some(true)));

    tokio::spawn(hollow.run(cluster.store.clone()));
    let mut changes = watcher(pods.clone(), watcher::Config::default().labels(LABEL)).touched_objects().boxed();
    let (mut seen, mut made_anew) = (0, 0);
    while seen < 1400 {
        let pod = timeout(SOON, changes.try_next()).await.expect("pods change").unwrap().unwrap();
        seen += 1;
        made_anew += usize::from(!pod.metadata.name.unwrap().ends_with("-0"));
    }
    assert!(made_anew > 0, "one change in ten is another pod");
    assert_eq!(pods.list(&ListParams::default().labels(LABEL)).await.unwrap().items.len(), 600);
}

#[tokio::test]
async fn one_that_is_deleted_goes() {
    let cluster = Cluster::start().await;
    let hollow = Hollow { pods: 2, churn: 0 };
    hollow.create(&cluster.store).unwrap();
    tokio::spawn(hollow.run(cluster.store.clone()));
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "hollow-0");
    pods.delete("hollow-1-0", &DeleteParams::default()).await.unwrap();
    let gone = async {
        while pods.get_opt("hollow-1-0").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("nothing has to be stopped");
}
