//! Random worlds: few names, labels, addresses and ports, so that what policies say often meets what there is.

use fastrand::Rng;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use netpol_oracle::Family;
use serde_json::{Map, Value, json};

use crate::place::{NODE, NODES, REMOTE_SLOTS, SLOTS, local_address, node_address, remote_address};
use crate::policies;
use crate::world::{World, addresses};

pub(crate) const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
/// Keys of labels, and their values.
pub(crate) const LABELS: [(&str, [&str; 3]); 3] =
    [("app", ["a", "b", "c"]), ("tier", ["web", "db", ""]), ("netpol.dev/x", ["1", "2", "3"])];
/// Ports of containers: name, protocol, numbers that it has in different pods.
const PORTS: [(&str, &str, [u16; 2]); 4] =
    [("http", "TCP", [80, 8080]), ("dns", "UDP", [53, 5353]), ("http", "UDP", [80, 81]), ("sig", "SCTP", [79, 80])];

/// Makes objects whose names and uids are never used twice.
pub(crate) struct Generator {
    pub(crate) random: Rng,
    made: u32,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), made: 0 }
    }

    /// Whether something happens that does so in `percent` of cases.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    pub(crate) fn next_number(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    pub(crate) fn world(&mut self) -> World {
        let mut world = World::default();
        for name in NAMESPACES {
            world.namespaces.push(self.namespace(name));
        }
        for _ in 0..self.random.usize(1..=usize::from(SLOTS)) {
            world.pods.extend(self.local_pod(&world));
        }
        for _ in 0..self.random.usize(1..=usize::from(REMOTE_SLOTS)) {
            world.pods.extend(self.remote_pod(&world));
        }
        if self.chance(30) {
            let pod = self.host_pod();
            world.pods.push(pod);
        }
        if self.chance(25) {
            let pod = self.ended_pod(&world);
            world.pods.push(pod);
        }
        for _ in 0..self.random.usize(0..=5) {
            let policy = policies::policy(self, &world);
            world.policies.push(policy);
        }
        world
    }

    pub(crate) fn namespace(&mut self, name: &str) -> Namespace {
        let labels = self.labels();
        typed(json!({ "metadata": { "name": name, "labels": labels } }))
    }

    /// Some labels, perhaps none.
    pub(crate) fn labels(&mut self) -> Map<String, Value> {
        let mut labels = Map::new();
        for (key, values) in LABELS {
            if self.chance(60) {
                labels.insert(key.to_owned(), self.pick(&values).into());
            }
        }
        labels
    }

    /// A pod of the tested node, if an address is free.
    pub(crate) fn local_pod(&mut self, world: &World) -> Option<Pod> {
        let owners = world.owners();
        let free: Vec<u8> = (0..SLOTS).filter(|slot| !owners.contains_key(slot)).collect();
        let slot = *free.first()?;
        Some(self.pod(NODE, |family| local_address(slot, family)))
    }

    /// A pod of another node, if an address is free.
    pub(crate) fn remote_pod(&mut self, world: &World) -> Option<Pod> {
        let taken: Vec<_> = world.pods.iter().flat_map(addresses).collect();
        let free = (0..REMOTE_SLOTS).find(|slot| {
            [Family::V4, Family::V6].iter().all(|family| !taken.contains(&remote_address(*slot, *family)))
        });
        let node = self.pick(&NODES[1..]);
        free.map(|slot| self.pod(node, |family| remote_address(slot, family)))
    }

    fn host_pod(&mut self) -> Pod {
        let index = self.random.u8(..NODES.len() as u8);
        let mut pod = self.pod(NODES[usize::from(index)], |family| node_address(index, family));
        pod.spec.as_mut().expect("it has a spec").host_network = Some(true);
        pod
    }

    /// One that has ended under an address that may be somebody else's by now.
    fn ended_pod(&mut self, world: &World) -> Pod {
        let all: Vec<_> = world.pods.iter().flat_map(addresses).collect();
        let mut pod = self.pod(NODE, |family| local_address(0, family));
        let status = pod.status.as_mut().expect("it has a status");
        status.phase = Some(self.pick(&["Succeeded", "Failed"]).to_owned());
        if let (Some(ips), false) = (status.pod_ips.as_mut(), all.is_empty()) {
            ips.truncate(1);
            ips.iter_mut().for_each(|ip| ip.ip = self.pick(&all).to_string());
        }
        status.pod_ip = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.clone());
        pod
    }

    fn pod(&mut self, node: &str, address: impl Fn(Family) -> std::net::IpAddr) -> Pod {
        let families: &[Family] = match self.random.u8(..10) {
            0 => &[],
            1 => &[Family::V4],
            2 => &[Family::V6],
            3 => &[Family::V6, Family::V4],
            _ => &[Family::V4, Family::V6],
        };
        let ips: Vec<Value> = families.iter().map(|family| json!({ "ip": address(*family).to_string() })).collect();
        let mut ports = Vec::new();
        for (name, protocol, numbers) in PORTS {
            if self.chance(50) && !ports.iter().any(|port: &Value| port["name"] == name) {
                ports.push(json!({ "name": name, "protocol": protocol, "containerPort": self.pick(&numbers) }));
            }
        }
        let number = self.next_number();
        let mut pod = json!({
            "metadata": {
                "namespace": self.pick(&NAMESPACES), "name": format!("pod-{number}"), "uid": format!("pod-{number}"),
                "labels": self.labels(), "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", number / 60 % 60, number % 60),
            },
            "spec": { "nodeName": node, "containers": [{ "name": "main", "ports": ports }] },
            "status": { "phase": self.pick(&["Running", "Running", "Running", "Pending", "Unknown"]), "podIPs": ips },
        });
        if let Some(first) = ips.first() {
            pod["status"]["podIP"] = first["ip"].clone();
        }
        if self.chance(10) {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
        }
        typed(pod)
    }
}

pub(crate) fn typed<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of the API")
}
