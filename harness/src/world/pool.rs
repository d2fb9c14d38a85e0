//! Worlds that cases take turns in.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::pods::until_node_ports_are_free;
use super::{World, WorldError};
use crate::cluster::Cluster;
use crate::plan::Topology;
use crate::topology::uses_node_network;

/// Keeps worlds for reuse, by topology.
pub struct Pool {
    cluster: Cluster,
    booted: AtomicU32,
    idle: Mutex<BTreeMap<String, Vec<World>>>,
    /// Pods in the network of their node listen on its ports: one world with such pods stands at a time.
    node_network: Semaphore,
}

impl Pool {
    /// A pool without worlds: they are booted when a case needs one.
    pub fn new(cluster: Cluster) -> Self {
        Pool { cluster, booted: AtomicU32::new(0), idle: Mutex::default(), node_network: Semaphore::new(1) }
    }

    /// A world for one case; it goes back when the lease is dropped.
    ///
    /// # Errors
    /// [`WorldError`] when none is idle and none can be booted.
    pub async fn lease(&self, topology: &Topology) -> Result<Lease<'_>, WorldError> {
        let node_network = match uses_node_network(topology) {
            true => self.node_network.acquire().await.ok(),
            false => None,
        };
        let idle = self.idle().get_mut(&topology.name).and_then(Vec::pop);
        if idle.is_none() && node_network.is_some() {
            self.clear_node_ports().await?;
        }
        let world = match idle {
            Some(world) => world,
            None => World::boot(&self.cluster, self.booted.fetch_add(1, Ordering::Relaxed) + 1, topology).await?,
        };
        Ok(Lease { pool: self, world: Some(world), _node_network: node_network })
    }

    /// Removes idle worlds whose pods listen on ports of nodes, and waits until those pods are gone.
    async fn clear_node_ports(&self) -> Result<(), WorldError> {
        let mut in_the_way = Vec::new();
        for worlds in self.idle().values_mut() {
            in_the_way.extend(worlds.extract_if(.., |world| uses_node_network(&world.topology)));
        }
        for world in in_the_way {
            world.remove().await?;
        }
        until_node_ports_are_free(&self.cluster).await
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<World>>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A world in use.
pub struct Lease<'a> {
    pool: &'a Pool,
    world: Option<World>,
    _node_network: Option<SemaphorePermit<'a>>,
}

impl Deref for Lease<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        self.world.as_ref().expect("a lease holds its world until it is dropped")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut World {
        self.world.as_mut().expect("a lease holds its world until it is dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(world) = self.world.take() else { return };
        if world.altered {
            // Its pods are in the way of nobody; the run's end removes what is still there.
            tokio::spawn(async move {
                if let Err(error) = world.remove().await {
                    tracing::debug!(%error, "removing an altered world");
                }
            });
        } else {
            self.pool.idle().entry(world.topology.name.clone()).or_default().push(world);
        }
    }
}
